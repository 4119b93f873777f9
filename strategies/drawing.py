"""How a strategy draws images: by options of its own, so that no evaluation changes a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cl_sr.diffusion.sampling import Sampling
from cl_sr.errors import InputError
from cl_sr.strategies.base import Strategy, option


@dataclass(frozen=True)
class Drawing(Strategy):
    """A base class of strategies that have the net draw images while they train."""

    sampler: Literal["ancestral", "ddim", "dpmpp-2m", "unipc"] = option(
        "ddim", "of the images that it draws: ancestral, ddim, dpmpp-2m or unipc"
    )
    steps: int = option(5, "sampling steps of these; 0: all T")
    eta: float = option(0.0, "of ddim: 0 deterministic, 1 all noise fresh")
    batch: int = option(64, "most images at a time")

    @property
    def sampling(self) -> Sampling:
        """That of its images."""
        return Sampling(self.sampler, self.steps or None, self.eta)

    def check(self, steps: int, shapes: Mapping[str, Sequence[int]] | None = None) -> None:
        if self.steps < 0 or self.batch < 1:
            raise InputError(
                f"strategy {self.title()}: steps must not be negative, and batch at least 1"
            )
        try:
            self.sampling.check(steps)
        except ValueError as error:
            raise InputError(f"strategy {self.title()}: {error}") from error
