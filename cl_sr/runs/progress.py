"""What a run shows while it goes: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

import rich.progress
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from cl_sr.avalanche import BaseLogger
from cl_sr.data.folder import Track
from cl_sr.data.prepare import skipped
from cl_sr.evaluation.matrix import INIT
from cl_sr.image_size import in_words
from cl_sr.runs.loading import Loaded

LINE_SECONDS = 15.0  # between plain lines
BAR_SECONDS = 0.2  # between looks at the loss, which waits for a GPU


def tracker(console: Console) -> Callable[[str], Track]:
    """Shows how far reading and drawing images has come; just the title where there is no bar."""

    def titled(title: str) -> Track:
        def track(items: Iterable[Any], total: int) -> Iterable[Any]:
            if not console.is_terminal:
                console.print(title)
                return items
            return rich.progress.track(items, title, total, console=console, transient=True)

        return track

    return titled


class ProgressLogger(BaseLogger):
    """An Avalanche logger for people: iterations/s, loss, time left, latest PSNR of each domain.

    Args:
        console: where to write; bars where it is a terminal.
        total: iterations of the run.
        experiences: their number.

    Use it as a context manager, so that the terminal is left in order.
    """

    def __init__(self, console: Console, total: int, experiences: int) -> None:
        super().__init__()
        self.console = console
        self.total = total
        self.experiences = experiences
        self.psnr: dict[str, float] = {}
        self._rate = _Rate()
        self._next = 0.0
        self._bars: Progress | None = None
        if console.is_terminal:
            self._bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=16),
                MofNCompleteColumn(),
                _Field("rate"),
                _Field("loss"),
                TimeRemainingColumn(compact=True),
                console=console,
            )
            fields: dict[str, Any] = {"rate": "", "loss": ""}
            self._train = self._bars.add_task("starting", total=total, **fields)
            self._eval = self._bars.add_task("evaluating", total=1, visible=False, **fields)

    def __enter__(self) -> ProgressLogger:
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

    def before_training_exp(self, template: Any, metric_values: list[Any]) -> None:
        number = template.learning.current_experience + 1
        self._title = f"{number}/{self.experiences} {'+'.join(template.learning.domains)}"
        if self._bars is None:
            self.console.print(f"experience {self._title}: {template.budget} iterations")
            self._next = time.monotonic() + LINE_SECONDS
        else:
            self._bars.update(self._train, description=self._title)
        self._rate.resume()

    def after_training_iteration(self, template: Any, metric_values: list[Any]) -> None:
        self._rate.count()
        now = time.monotonic()
        done = template.clock.train_iterations + 1  # the clock counts after all plugins
        if now < self._next and done < self.total:
            return
        loss = f"loss {float(template.loss.detach()):.4f}"
        if self._bars is None:
            self._next = now + LINE_SECONDS
            left = _duration((self.total - done) / max(self._rate.value, 1e-9))
            self._line(f"iteration {done}/{self.total}", str(self._rate), loss, f"{left} left")
        else:
            self._next = now + BAR_SECONDS
            self._bars.update(self._train, completed=done, rate=str(self._rate), loss=loss)

    def before_eval(self, template: Any, metric_values: list[Any]) -> None:
        self._rate.pause()
        if self._bars is not None:
            images = sum(len(experience.dataset) for experience in template.current_eval_stream)
            self._bars.reset(self._eval, total=images, visible=True)

    def after_eval_iteration(self, template: Any, metric_values: list[Any]) -> None:
        if self._bars is not None:
            (domain,) = template.experience.domains
            self._bars.update(
                self._eval, advance=len(template.mb_x), description=f"evaluating {domain}"
            )

    def after_eval_exp(self, template: Any, metric_values: list[Any]) -> None:
        (domain,) = template.experience.domains
        for value in metric_values:
            if str(value.origin) == "psnr":
                self.psnr[domain] = value.value

    def after_eval(self, template: Any, metric_values: list[Any]) -> None:
        psnr = ", ".join(f"{domain} {value:.2f} dB" for domain, value in self.psnr.items())
        self._line(f"iteration {template.clock.train_iterations}/{self.total}", psnr)
        if self._bars is not None:
            self._bars.update(self._eval, visible=False)
        self._rate.resume()

    def _line(self, *parts: str) -> None:
        self.console.print("  " + ", ".join(parts), soft_wrap=True)


class JudgingLogger(BaseLogger):
    """An Avalanche logger for people, of a run that is judged again: images and time left.

    Args:
        console: where to write; a bar where it is a terminal.
        states: how many are judged.

    Use it as a context manager, so that the terminal is left in order.
    """

    def __init__(self, console: Console, states: int) -> None:
        super().__init__()
        self.console = console
        self.states = states
        self.psnr: dict[str, float] = {}
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("reading", total=None)
        self._total: int | None = None

    def __enter__(self) -> JudgingLogger:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def before_eval(self, template: Any, metric_values: list[Any]) -> None:
        if self._total is None:
            images = sum(len(experience.dataset) for experience in template.current_eval_stream)
            self._total = images * self.states
            self._bar.reset(self._task, total=self._total)

    def after_eval_iteration(self, template: Any, metric_values: list[Any]) -> None:
        (domain,) = template.experience.domains
        self._bar.update(self._task, advance=len(template.mb_x), description=f"judging {domain}")

    def after_eval_exp(self, template: Any, metric_values: list[Any]) -> None:
        (domain,) = template.experience.domains
        found = {str(value.origin): value.value for value in metric_values}
        self.psnr[domain] = found["psnr"]

    def after_eval(self, template: Any, metric_values: list[Any]) -> None:
        psnr = ", ".join(f"{domain} {value:.2f} dB" for domain, value in self.psnr.items())
        state = template.trained_on
        when = "before training" if state == INIT else f"after {state}"
        self.console.print(f"  {when}: {psnr}", soft_wrap=True)


class _Field(ProgressColumn):
    """A field of a task as plain text."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def render(self, task: Task) -> Text:
        return Text(task.fields[self.name])


class _Rate:
    """Iterations a second of training alone, evaluations left out."""

    def __init__(self) -> None:
        self.iterations = 0
        self.seconds = 0.0
        self._since = time.monotonic()

    def count(self) -> None:
        self.iterations += 1

    def pause(self) -> None:
        self.seconds += time.monotonic() - self._since

    def resume(self) -> None:
        self._since = time.monotonic()

    @property
    def value(self) -> float:
        return self.iterations / max(self.seconds + time.monotonic() - self._since, 1e-9)

    def __str__(self) -> str:
        return f"{self.value:.1f} it/s"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def describe(loaded: Loaded, name: str, messages: Console) -> None:
    """What is about to be run, and what was odd about the data."""
    for data in loaded.data.values():
        copies = f", {data.duplicates} exact copies kept on one side" if data.duplicates else ""
        if data.leaked:
            copies = f", {data.leaked} of them copies of training images (data.split=random)"
        messages.print(
            f"{data.label}: {len(data.train)} training and {len(data.test)} {data.side} "
            f"images{copies}"
        )
        if data.left_out:
            messages.print(
                f"{data.label}: left out {sum(data.left_out.values())} files of "
                f"{', '.join(data.left_out)}: the same images at other sizes",
                style="yellow",
            )
        if data.enlarged:
            messages.print(
                f"{data.label}: {data.enlarged} images are smaller than {in_words(data.size)} "
                "pixels and were enlarged: they have no detail to learn",
                style="yellow",
            )
        if data.unreadable:
            messages.print(f"{data.label}: skipped {skipped(data.unreadable)}", style="yellow")
    parameters = sum(p.numel() for p in loaded.model.net.parameters())
    messages.print(
        f"{name}, strategy {loaded.plan.title}, {loaded.model.title} with "
        f"{parameters / 1e6:.1f} M parameters on {loaded.device}{' in bf16' if loaded.bf16 else ''}"
    )
