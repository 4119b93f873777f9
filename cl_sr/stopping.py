"""Being asked to stop: Ctrl-C, and what clusters send before they kill."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# SLURM sends SIGTERM at a time limit, or SIGUSR1 some time before one (sbatch --signal); a terminal
# that is closed, SIGHUP.
SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")
    if hasattr(signal, name)
]


class Stopped(KeyboardInterrupt):
    """A run that was asked to stop and has saved what it had.

    Attributes:
        signum: the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


class StopRequest:
    """Remembers that a signal came, so that the run can stop where nothing is lost."""

    def __init__(self) -> None:
        self.signum: int | None = None

    def check(self) -> None:
        """Stop here if it was asked for.

        Raises:
            Stopped: it was.
        """
        if self.signum is not None:
            raise Stopped(self.signum)

    @contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Take the signals; a second Ctrl-C stops at once."""
        if threading.current_thread() is not threading.main_thread():
            yield self  # Python lets no other thread listen
            return
        heard = [number for number in SIGNALS if not _left_to_nohup(number)]
        former = {number: signal.signal(number, self._handle) for number in heard}
        try:
            yield self
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.signum = signum


def _left_to_nohup(number: int) -> bool:
    """Whether a run is to outlive its terminal."""
    hangs_up = getattr(signal, "SIGHUP", None)
    return number == hangs_up and signal.getsignal(number) == signal.SIG_IGN
