"""Plain fine-tuning: train on each domain in turn and do nothing about the ones before."""

from dataclasses import dataclass
from typing import ClassVar

from cl_sr.strategies.base import Strategy
from cl_sr.strategies.traits import Traits


@dataclass(frozen=True)
class Finetune(Strategy):
    """Plain fine-tuning on all time-steps: the baseline that forgets.

    Each domain's loss alone, from the weights that the domain before it left (Saini et al., 2023,
    Sec. 3), on the objective of SR3 (arXiv 2104.07636, Eq. 6):

        L = mean |f(x, y_t, level) - target|^2,  t in {1, ..., T},

    with the noise as target, or what `diffusion.prediction` says.

    Memory: none. Time: the measure of all others.
    """

    traits: ClassVar[Traits] = Traits(plain_start=True)
