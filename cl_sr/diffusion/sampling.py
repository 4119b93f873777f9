"""How images are drawn, as numbers: without torch, for configurations and strategies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from cl_sr.diffusion.times import respaced, travel_times

DDNM = "ddnm"


@dataclass(frozen=True)
class Sampling:
    """A sampler and its settings: fixed for a run, so that its curves compare.

    Attributes:
        sampler: a name in `cl_sr.diffusion.SAMPLERS`, or `ddnm` (`cl_sr.zero_shot`).
        steps: respaced steps, at most T; None: all T.
        eta: of `ddim` and `ddnm`: 0 deterministic, 1 all noise fresh.
        seed: of the first image's noise; the next image has the next.
        travel_length, travel_repeat: of `ddnm`, see `cl_sr.diffusion.times.travel_times`.
    """

    sampler: str = "ddim"
    steps: int | None = 10
    eta: float = 0.0
    seed: int = 0
    travel_length: int = 1
    travel_repeat: int = 1

    def changed(
        self, sampler: str | None = None, steps: int | None = None, eta: float | None = None
    ) -> Sampling:
        """The same, with what is given in the place of its own."""
        given: dict[str, Any] = {"sampler": sampler, "steps": steps, "eta": eta}
        return replace(self, **{name: value for name, value in given.items() if value is not None})

    def check(self, total: int) -> None:
        """Refuse numbers that a schedule of `total` time-steps cannot be sampled with.

        Raises:
            ValueError: too many steps, an eta that is no share, a time-travel that is none.
        """
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta={self.eta} must be in [0, 1]")
        if self.sampler == DDNM:
            steps = total if self.steps is None else self.steps
            travel_times(total, steps, self.travel_length, self.travel_repeat)
        else:
            respaced(total, self.steps)
