"""Joint training: all domains at once, the upper bound that continual learning aims at."""

from collections.abc import Sequence
from dataclasses import dataclass

from cl_sr.strategies.base import Strategy


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

    def conflict(self, other: Strategy) -> str:
        return "all domains are learnt at once, and there is no past to protect"

    def curriculum(self, domains: Sequence[str]) -> list[tuple[str, ...]]:
        return [tuple(domains)]
