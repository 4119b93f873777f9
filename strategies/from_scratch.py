"""Training from scratch on each domain: what a model reaches without the domains before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cl_sr.strategies.base import Strategy

if TYPE_CHECKING:
    from cl_sr.training.template import SR3Template


@dataclass(frozen=True)
class FromScratch(Strategy):
    """The first random weights again at every domain: no transfer, all is forgotten.

    What fine-tuning is measured against (Saini et al., 2023, Fig. 8): `w = w_0` before every
    domain, then its loss alone. By Avalanche's `FromScratchTrainingPlugin`. With `--init` the first
    weights are those of the file.

    Memory: the first weights. Time: as fine-tuning.
    """

    def conflict(self, other: Strategy) -> str:
        if other.title() == "timestep-window":
            return ""
        return "the weights start anew at every domain, and nothing of the past is to be kept"

    def plugins(self, template: SR3Template) -> list[Any]:
        from avalanche.training.plugins import FromScratchTrainingPlugin

        return [FromScratchTrainingPlugin(reset_optimizer=False)]
