"""L2-SP: the weights are drawn to where the experience started from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cl_sr.errors import InputError
from cl_sr.strategies.base import Memory, Strategy, option

if TYPE_CHECKING:
    from torch import Tensor

    from cl_sr.training.template import SR3Template


@dataclass(frozen=True)
class L2SP(Strategy):
    """Draws all weights alike to those from before the experience (L2-SP).

    Li, Grandvalet and Davoine (arXiv 1802.01483), Eq. 3: `L = L(new) + weight / 2 |w - w_0|^2`.

    Memory: the weights of before, while the experience lasts. Time: as fine-tuning.
    """

    plain_start: ClassVar[bool] = True

    weight: float = option(0.01, "of the squared distance")

    @classmethod
    def title(cls) -> str:
        return "l2-sp"

    def check(self, steps: int) -> None:
        if not 0 <= self.weight < math.inf:
            raise InputError(f"strategy l2-sp: weight={self.weight} must be 0 or more")

    def begin(self, template: SR3Template, memory: Memory) -> None:
        if template.number:
            memory["start"] = template.weights().detach()

    def penalty(self, template: SR3Template, memory: Memory) -> Tensor | float:
        if "start" not in memory:
            return 0.0
        return self.weight / 2 * (template.weights() - memory["start"]).square().sum()

    def end(self, template: SR3Template, memory: Memory) -> None:
        memory.clear()
