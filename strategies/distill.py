"""Distillation on the new domain's images: learning without forgetting, for a denoiser."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cl_sr.errors import InputError
from cl_sr.strategies.base import Strategy, option
from cl_sr.strategies.memory import Memory
from cl_sr.strategies.traits import Traits

if TYPE_CHECKING:
    from torch import Tensor

    from cl_sr.strategies.learner import Learner


@dataclass(frozen=True)
class Distill(Strategy):
    """Keeps the answers of the net of before the experience (Li and Hoiem, arXiv 1606.09282).

    Learning without Forgetting, with the denoiser's answer in place of class scores:

        L = L(new) + weight * mean |f(x, y_t, level) - f_old(x, y_t, level)|^2.

    Teacher and student see the same noisy image: the same t and noise. Together with `replay`, and
    `on=past`, this is in the manner of dark experience replay (DER++; Buzzega et al., arXiv
    2004.07211, Eq. 6), which stores the answers; here the net of before gives them anew, for any t.

    Memory: the weights of before, while the experience lasts. Time: one more forward pass.
    """

    weight: float = option(1.0, "of the distillation against the data's own loss")
    on: Literal["new", "past", "all"] = option(
        "all", "images to distil on: new ones, rehearsed ones"
    )

    def check(self, steps: int, shapes: Mapping[str, Sequence[int]] | None = None) -> None:
        if not 0 <= self.weight < math.inf:
            raise InputError(f"strategy distill: weight={self.weight} must be 0 or more")

    @property
    def traits(self) -> Traits:  # type: ignore[override]
        return Traits(plain_start=True, needs_past=self.on == "past")

    def begin(self, learner: Learner, memory: Memory) -> None:
        if learner.number:
            memory["teacher"] = learner.state()

    def penalty(self, learner: Learner, memory: Memory) -> Tensor | float:
        seen = learner.seen
        if seen is None or "teacher" not in memory:
            return 0.0
        rows = {"new": slice(0, seen.new), "past": slice(seen.new, None), "all": slice(None)}[
            self.on
        ]
        if not len(seen.noisy[rows]):
            return 0.0
        condition = None if seen.condition is None else seen.condition[rows]
        teacher = learner.net_of(memory["teacher"])
        wanted = teacher(seen.noisy[rows], condition, seen.level[rows])
        return self.weight * (seen.answer[rows] - wanted).square().mean()

    def end(self, learner: Learner, memory: Memory) -> None:
        memory.clear()
