"""Joint training: all domains at once, the upper bound that continual learning aims at."""

from collections.abc import Sequence
from dataclasses import dataclass

from cl_sr.strategies.base import Strategy


@dataclass(frozen=True)
class Joint(Strategy):
    """Train on all domains mixed, for the sum of their iterations: the upper bound."""

    def conflict(self, other: Strategy) -> str:
        if other.title() == "avalanche":
            return ""
        return "all domains are learnt at once, and there is no past to protect"

    def curriculum(self, domains: Sequence[str]) -> list[tuple[str, ...]]:
        return [tuple(domains)]
