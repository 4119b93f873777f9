"""Timestep-window fine-tuning: adapt only some noise levels (Saini et al., Table 1a)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from cl_sr.errors import InputError
from cl_sr.strategies.base import Strategy, option
from cl_sr.strategies.traits import Traits


@dataclass(frozen=True)
class TimestepWindow(Strategy):
    """Fine-tune on the time-steps start+1..stop alone; the first domain trains on all.

    Saini et al. (2023), Table 1a: the loss of SR3 with t drawn from the window, 0 being low noise:

        L = mean |f(x, y_t, level) - target|^2,  t in {start + 1, ..., stop}.

    All time-steps are then sampled with the same weights; with `window-experts` the old ones serve
    outside of the window.

    Memory: none. Time: as fine-tuning.
    """

    traits: ClassVar[Traits] = Traits(plain_start=True)

    start: int = option(0, "low-noise end of the window, 0 <= start < stop")
    stop: int = option(200, "high-noise end of the window, at most T (diffusion.steps)")

    def check(self, steps: int, shapes: Mapping[str, Sequence[int]] | None = None) -> None:
        if not 0 <= self.start < self.stop <= steps:
            raise InputError(
                f"time-step window {self.start}-{self.stop} is empty or not within 0..{steps}: "
                "it needs 0 <= start < stop <= T"
            )

    def window(self, experience: int, steps: int) -> tuple[int, int]:
        return (0, steps) if experience == 0 else (self.start, self.stop)
