"""L2-SP: the weights are drawn to where the experience started from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cl_sr.errors import InputError
from cl_sr.strategies.base import Strategy, option
from cl_sr.strategies.memory import Memory
from cl_sr.strategies.traits import Does, Traits

if TYPE_CHECKING:
    from torch import Tensor

    from cl_sr.strategies.learner import Learner


@dataclass(frozen=True)
class L2Sp(Strategy):
    """Draws all weights alike to those from before the experience (L2-SP).

    Li, Grandvalet and Davoine (arXiv 1802.01483), Eq. 3: `L = L(new) + weight / 2 |w - w_0|^2`.

    Memory: the weights of before, while the experience lasts. Time: as fine-tuning.
    """

    traits: ClassVar[Traits] = Traits(does=frozenset({Does.HOLDS_WEIGHTS}), plain_start=True)

    weight: float = option(0.01, "of the squared distance")

    def check(self, steps: int, shapes: Mapping[str, Sequence[int]] | None = None) -> None:
        if not 0 <= self.weight < math.inf:
            raise InputError(f"strategy l2-sp: weight={self.weight} must be 0 or more")

    def begin(self, learner: Learner, memory: Memory) -> None:
        if learner.number:
            memory["start"] = learner.weights().detach()

    def penalty(self, learner: Learner, memory: Memory) -> Tensor | float:
        if "start" not in memory:
            return 0.0
        return self.weight / 2 * (learner.weights() - memory["start"]).square().sum()

    def end(self, learner: Learner, memory: Memory) -> None:
        memory.clear()
