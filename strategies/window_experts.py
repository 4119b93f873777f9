"""Experts by noise level: adapted weights inside the fine-tuned window, the old ones outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cl_sr.strategies.base import Experts, option
from cl_sr.strategies.memory import Memory
from cl_sr.strategies.timestep_window import TimestepWindow
from cl_sr.strategies.traits import Does, Traits

if TYPE_CHECKING:
    from torch import Tensor

    from cl_sr.strategies.learner import Learner

NEW, FIRST = 0, 1


@dataclass(frozen=True)
class WindowExperts(TimestepWindow):
    """As `timestep-window`, and restores with the old weights at all other time-steps.

    An expert for each range of noise (as in eDiff-I; Balaji et al., arXiv 2211.01324, Sec. 4):

        f(x, y_t, level_t) = f_new where t in {start + 1, ..., stop}, else f_first,

    the adapted net's answer, and that of the first domain's weights, which fine-tuning on the
    window alone would leave to chance.

    Memory: the first domain's weights, also at inference. Time: as fine-tuning.
    """

    traits: ClassVar[Traits] = Traits(does=frozenset({Does.KEEPS_WEIGHTS}), plain_start=True)

    stop: int = option(1000, "high-noise end of the window, at most T (diffusion.steps)")

    def end(self, learner: Learner, memory: Memory) -> None:
        if learner.number == 0:
            memory["first"] = learner.state()

    def experts(self, memory: Memory) -> Experts | None:
        return ByTimestep(memory["first"], self.start, self.stop) if "first" in memory else None


class ByTimestep(Experts):
    """The net as it is now inside a window of time-steps, the first domain's outside of it."""

    def __init__(self, first: Mapping[str, Tensor], start: int, stop: int) -> None:
        super().__init__(sum(weight.numel() for weight in first.values()))
        self.first = first
        self.start = start
        self.stop = stop

    def at(self, chosen: Tensor, t: Tensor) -> Tensor:
        inside = (t > self.start) & (t <= self.stop)
        return chosen.new_full(chosen.shape, FIRST).masked_fill(inside, NEW)

    def weights(self, number: int) -> Mapping[str, Tensor] | None:
        return None if number == NEW else self.first
