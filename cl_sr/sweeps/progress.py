"""What a sweep shows while it goes: a bar for all and one for each run; elsewhere plain lines."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from cl_sr.sweeps.runner import Job, State


class SweepProgress(Progress):
    """Use it as a context manager, so that the terminal is left in order."""

    def __init__(self, jobs: Sequence[Job], console: Console) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.jobs = jobs
        self._all = self.add_task("runs", total=len(jobs), completed=self._done())
        self._bars: dict[str, TaskID] = {}

    def _done(self) -> int:
        return sum(job.state in (State.FINISHED, State.FAILED) for job in self.jobs)

    def changed(self, job: Job) -> None:
        """Tell of a job that has begun or ended."""
        if job.state is not State.RUNNING or self.disable:
            self.console.print(_line(job))
        self.update(self._all, completed=self._done())
        if job.state is State.RUNNING:
            self._bars[job.name] = self.add_task(escape(job.name), total=None)
        elif job.name in self._bars:
            self.remove_task(self._bars.pop(job.name))

    def look(self) -> None:
        """How far the running ones have come."""
        if self.disable:
            return
        for job in self.jobs:
            if job.state is State.RUNNING:
                done, of = job.progress()
                self.update(self._bars[job.name], completed=done, total=of or None)


def _line(job: Job) -> str:
    if job.state is State.RUNNING:
        return f"started {job.name}"
    if job.state is State.WAITING:
        return f"waiting for another process in {job.folder}"
    minutes, seconds = divmod(round(job.seconds), 60)
    took = f" ({minutes} min {seconds} s)" if job.seconds else ""
    return f"{job.state.value} {job.name}{took}{': ' + job.reason if job.reason else ''}"
