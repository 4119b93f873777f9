"""How far a run has come, in `status.json`."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from cl_sr.avalanche import BaseLogger
from cl_sr.runs.folder import RunFolder
from cl_sr.training.template import DiffusionTemplate

STATUS_EVERY = 5.0  # seconds


class Status(BaseLogger):
    """Keeps `status.json` true, whatever happens inside its context."""

    def __init__(self, folder: RunFolder, total: int) -> None:
        super().__init__()
        self.folder = folder
        self.total = total
        self.template: DiffusionTemplate | None = None
        self._written = time.monotonic()

    def write(self, state: str, **more: Any) -> None:
        done = self.template.clock.train_iterations if self.template else 0
        status = {"state": state, "iteration": done, "of": self.total, **more}
        self.folder.write_json("status.json", status)

    def after_training_iteration(self, template: Any, metric_values: list[Any]) -> None:
        if time.monotonic() - self._written > STATUS_EVERY:
            self._written = time.monotonic()
            self.write("running")

    def after_eval(self, template: Any, metric_values: list[Any]) -> None:
        self.write("running")

    def __enter__(self) -> Status:
        self.write("running")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: Any
    ) -> None:
        if error is None:
            self.write("finished")
        elif isinstance(error, KeyboardInterrupt):
            self.write("interrupted")
        else:
            reason = f"{type(error).__name__}: {error}"
            with suppress(OSError):  # a full disk must not hide what happened
                self.write("failed", reason=" ".join(reason.split()))
