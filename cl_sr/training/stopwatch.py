"""How long learning takes, whatever else the machine does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Seconds of each experience, without evaluations and checkpoints.

    CPU time on a CPU, so that other jobs on the machine do not change a comparison; else the
    wall's.

    Attributes:
        seconds: of the experiences that have ended, and of the present one until it was taken up.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds: list[float] = []
        self._clock = time.process_time if device.type == "cpu" else time.monotonic
        self._since: float | None = None

    def start(self) -> None:
        self._since = self._clock()

    def stop(self) -> None:
        """The present experience has ended."""
        self.seconds = self.so_far
        self._since = None

    @property
    def so_far(self) -> list[float]:
        """Of each experience, with the one that is going on."""
        if self._since is None or not self.seconds:
            return list(self.seconds)
        return [*self.seconds[:-1], self.seconds[-1] + self._clock() - self._since]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is done inside is not training."""
        before = self._clock()
        yield
        if self._since is not None:
            self._since += self._clock() - before
