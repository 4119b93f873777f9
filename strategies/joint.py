"""Joint training: all domains at once, the upper bound that continual learning aims at."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from cl_sr.strategies.base import Strategy
from cl_sr.strategies.traits import Does, Traits


@dataclass(frozen=True)
class Joint(Strategy):
    """Train on all domains mixed, for the sum of their iterations: the upper bound.

    Multi-task training, which continual learning is measured against (Chaudhry et al., arXiv
    1801.10112): one experience with the images of all domains D, as many iterations as they have
    together,

        L = sum_D (n_D / n) L(images of D),

    where D has n_D of all n images.

    Memory: all images. Time: all experiences' at once.
    """

    traits: ClassVar[Traits] = Traits(does=frozenset({Does.JOINS_DOMAINS}))

    def curriculum(self, iterations: Mapping[str, int]) -> list[tuple[tuple[str, ...], int]]:
        return [(tuple(iterations), sum(iterations.values()))]
