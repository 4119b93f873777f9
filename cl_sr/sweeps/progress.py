"""What a sweep shows while it goes: a bar for all and one for each run; elsewhere plain lines."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cl_sr.sweeps.runner import Job, State


class SweepProgress:
    """Use it as a context manager, so that the terminal is left in order."""

    def __init__(self, jobs: Sequence[Job], console: Console) -> None:
        self.jobs = jobs
        self.console = console
        self._bars: Progress | None = None
        self._tasks: dict[str, object] = {}
        if console.is_terminal:
            self._bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=16),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=console,
            )
            self._all = self._bars.add_task("runs", total=len(jobs), completed=self._done())

    def __enter__(self) -> SweepProgress:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def _done(self) -> int:
        return sum(job.state in (State.FINISHED, State.FAILED) for job in self.jobs)

    def changed(self, job: Job) -> None:
        """Tell of a job that has begun or ended."""
        if job.state is not State.RUNNING or self._bars is None:
            self.console.print(_line(job))
        if job.state is State.WAITING:
            return
        if self._bars is None:
            return
        self._bars.update(self._all, completed=self._done())
        if job.state is State.RUNNING:
            self._tasks[job.name] = self._bars.add_task(escape(job.name), total=None)
        elif job.name in self._tasks:
            self._bars.remove_task(self._tasks.pop(job.name))  # type: ignore[arg-type]

    def look(self) -> None:
        """How far the running ones have come."""
        if self._bars is None:
            return
        for job in self.jobs:
            if job.state is State.RUNNING:
                done, of = job.progress()
                self._bars.update(self._tasks[job.name], completed=done, total=of or None)  # type: ignore[arg-type]


def _line(job: Job) -> str:
    if job.state is State.RUNNING:
        return f"started {job.name}"
    if job.state is State.WAITING:
        return f"waiting for another process in {job.folder}"
    minutes, seconds = divmod(round(job.seconds), 60)
    took = f" ({minutes} min {seconds} s)" if job.seconds else ""
    return f"{job.state.value} {job.name}{took}{': ' + job.reason if job.reason else ''}"
