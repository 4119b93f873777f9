"""The front door for Python: `cl_sr.run`, `cl_sr.open`, `cl_sr.load`. The command line is a coat
over it.
"""

from __future__ import annotations

import errno
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_sr.config import DEFAULT_PRESET, RunConfig, put_all, put_data, read_preset, resolve
from cl_sr.errors import InputError, out_of_memory
from cl_sr.plugins import blame
from cl_sr.runs.descent import Descent
from cl_sr.runs.folder import RunFolder
from cl_sr.runs.parent import Parent
from cl_sr.runs.places import begin, check_place
from cl_sr.runs.plan import Plan, check
from cl_sr.runs.record import Record
from cl_sr.yaml_text import read_yaml

if TYPE_CHECKING:
    from rich.console import Console

    from cl_sr.inference import Restorer
    from cl_sr.reporting import Report
    from cl_sr.runs.loading import Loaded

UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO}


class Run:
    """A run on disk, finished or not.

    Example:
        >>> run = cl_sr.open("runs/a")
        >>> print(run.matrix)
           metric      after  celeba  animef
        0    psnr    bicubic  ...

    Attributes:
        path: of its folder.
        record: all that is known of it, see `cl_sr.runs.record.Record`.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.record = Record(self.path)

    def __repr__(self) -> str:
        status = self.record.status
        return (
            f"<Run {self.path}: {self.record.config['stream']}, {self.record.strategy}, "
            f"{self.record.state} at {status['iteration']} of {status['of']} iterations>"
        )

    @property
    def matrix(self) -> Any:
        """R[after][domain] of every metric: a row a metric and `after`, a column a domain.

        A pandas DataFrame; a list of dictionaries where pandas is not installed.
        """
        rows = [
            {"metric": matrix.metric, "after": after, **values}
            for matrix in self.record.matrices
            for after, values in matrix.rows.items()
        ]
        return _frame(rows)

    @property
    def metrics(self) -> Any:
        """Every evaluation, a row a domain (`metrics.jsonl`), as `matrix`."""
        return _frame(self.record.metrics)

    def report(self) -> Report:
        """Write the report's page, tables and figures anew, and return what it says."""
        from cl_sr.reporting import build_report, publish_run

        report = build_report(Record(self.path))
        publish_run(report)
        return report

    def evaluate(self, after: str | None = None, *, data: Any = (), **options: Any) -> Record:
        """Judge it again: `run.evaluate(steps=50).matrices`; see `cl_sr.runs.judging.evaluate`."""
        with quiet(), explained(self.path):
            from cl_sr.runs.judging import evaluate

            return evaluate(self.path, after, data=_folders(data), **options)

    def load(self, after: str | None = None, **options: Any) -> Restorer:
        """What it restores images with; see `cl_sr.load`."""
        return load(self.path, after, **options)

    def export(self, to: Path | str, after: str | None = None, **options: Any) -> str:
        """Write its weights for other people; see `cl_sr.export.run.export`."""
        from cl_sr.export.run import export

        return export(self.path, to, after, **options)


def run(
    preset: str | None = None,
    *,
    config: Path | str | None = None,
    parent: Path | str | None = None,
    data: Path | str | Sequence[Path | str] | Mapping[str, Path | str] = (),
    out: Path | str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    plugins: Sequence[Any] = (),
    loggers: Sequence[Any] = (),
    progress: bool = True,
    **keys: Any,
) -> Run:
    """Train over a stream of image domains, as `cl-sr run` does.

    Torch and Avalanche are imported after all was checked that can be checked without them.

    Args:
        preset: a shipped configuration (default: demo).
        config: a configuration file in its place.
        parent: a finished run to go on from, in a new folder, as `--continue` does: with
            `stream="mine.py"`, which begins with its domains, or `**{"train.iterations": [9, 9]}`.
        data: real images: a folder with one folder a domain; or by domain, its folder; or several,
            as `--data` takes them.
        out: the run's folder (default: `runs/STREAM-STRATEGY-seedN`).
        overwrite: replace an earlier run in `out`.
        resume: go on with the run in `out`, which must be of this configuration; if it is
            finished, it is returned as it is.
        plugins, loggers: further ones of Avalanche.
        progress: show how far it has come.
        keys: of the configuration: `stream="celeba-anime"`, `strategy="router"`, or
            `**{"train.lr": 2e-4}`.

    Returns:
        The run; its report has been written.

    Raises:
        InputError: anything that is wrong, with the remedy.
        KeyboardInterrupt: it was interrupted; what it had is saved, and `resume` goes on with it.

    Example:
        >>> run = cl_sr.run("demo", stream="celeba-anime", strategy="router", out="runs/b")
        >>> print(run.report().headline)
        Since celeba (stand-in) was learnt, ...
    """
    before = parent_of(Path(parent)) if parent is not None else None
    settings, name = configuration(
        preset, Path(config) if config else None, _folders(data), keys, parent=before
    )
    plan = check(settings)
    descent = Descent(before, plan) if before else None
    place = Path(out) if out is not None else None
    check_place(plan, place, overwrite, resume, descent)
    if resume and place is not None and RunFolder.open(place).finished:
        return Run(place)
    from rich.console import Console

    from cl_sr.stopping import StopRequest

    messages = Console(stderr=True, markup=False, highlight=False, quiet=not progress)
    with quiet(), StopRequest().listening() as stop:
        loaded = prepare(plan, name, messages, descent)
        folder = begin(loaded, place, overwrite, resume, descent)
        try:
            taken_up = resume or descent is not None
            train(loaded, folder, messages, plugins, loggers, stop, taken_up)
        except KeyboardInterrupt:
            Run(folder.path).report()
            raise
    made = Run(folder.path)
    made.report()
    return made


def open(path: Path | str) -> Run:
    """A run that was made before.

    Raises:
        InputError: the folder holds none.
    """
    return Run(path)


def load(
    path: Path | str,
    after: str | None = None,
    *,
    scale: int | None = None,
    device: str = "auto",
    precision: str | None = None,
    batch: int = 64,
    **arguments: Any,
) -> Restorer:
    """What restores images with a trained model: `images = cl_sr.load("runs/a")(lr)`.

    It takes floats `(B, 3, h, w)` in [0, 1] and gives `(B, 3, h * scale, w * scale)` in [0, 1];
    see `cl_sr.inference.Restorer`, whose sampling, steps and seeds are arguments of the call. It
    has the memory of the strategy: a router routes each image to the adapter of its domain.

    Args:
        path: a run, the folder of a checkpoint or of what was exported, `hf:owner/name[@revision]`
            on the hub, or a conditional `*_gen.pth` of the public SR3 code.
        after: of a run, the domain after which; None: the last one that was learnt.
        scale: high over low resolution, which a `*_gen.pth` does not tell.
        device: `auto`, `cpu`, `cuda` or `mps`.
        precision: `auto`, `fp32` or `bf16`; None: that of the run.
        batch: most images at a time.
        arguments: what else a `*_gen.pth` does not tell: `norm_groups=16`, `image_size=512`,
            `degradation="bicubic"`.

    Raises:
        InputError: there are no such weights, or they lack something.

    Example:
        >>> restorer = cl_sr.load("runs/a", after="celeba", device="cpu")
        >>> restorer.domains, restorer.scale
        (('celeba',), 4)
    """
    from cl_sr.runs.opening import open_restorer

    options: dict[str, Any] = {"device": device, "precision": precision, "batch": batch}
    with quiet():
        return open_restorer(path, after, scale, **options, **arguments)


def parent_of(path: Path) -> Parent:
    """The finished run in a folder.

    Raises:
        InputError: there is none.
    """
    from cl_sr.sweeps.folder import is_sweep

    if is_sweep(path):
        raise InputError(f"{path} is a sweep of many runs: name one of them, {path}/MEMBER")
    return Parent(path)


def configuration(
    preset: str | None,
    config: Path | None,
    data: Sequence[str],
    keys: dict[str, Any],
    overrides: Sequence[str] = (),
    parent: Parent | None = None,
) -> tuple[RunConfig, str]:
    """A configuration, and what to call where it is from.

    Args:
        preset, config, parent: one of them at most.
        data: as `--data`.
        keys: put over it.
        overrides: `key=value` texts, put over all.

    Raises:
        InputError: an unknown preset, key or file, or a wrong value.
    """
    if preset and config:
        raise InputError("--preset and --config both give a whole configuration: use one")
    if parent is not None:
        if preset or config:
            raise InputError(f"{parent.path} brings its own configuration: give no other")
        return parent.configuration(data, keys, overrides), f"{parent.path}/config.yaml"
    if config:
        values, name = read_yaml(config), config.name
        if "grid" in values:
            raise InputError(f"{config} is a sweep of many runs: cl-sr sweep {config}")
    else:
        values, name = read_preset(preset or DEFAULT_PRESET), f"preset {preset or DEFAULT_PRESET}"
    put_all(values, keys.items())
    put_data(values, data, own=config is not None)
    return resolve(values, overrides), name


def prepare(plan: Plan, name: str, messages: Console, descent: Descent | None = None) -> Loaded:
    """Import what is heavy, then build or read the model and read or draw the images.

    Args:
        plan: of the run.
        name: of its configuration.
        messages: told what is about to be run.
        descent: from the run that it goes on from.

    Raises:
        InputError: weights or images that cannot be used, or too little memory for them.
    """
    with explained(None):
        with messages.status("starting (torch and Avalanche take some seconds)"):
            if not messages.is_terminal:
                messages.print("starting (torch and Avalanche take some seconds)")
            from cl_sr.runs import execute  # noqa: F401  now, under these words
            from cl_sr.runs.loading import load
            from cl_sr.runs.origin import check_images
            from cl_sr.runs.progress import describe, tracker
        loaded = load(plan, tracker(messages))
    describe(loaded, name, messages)
    if descent is not None:
        check_images(descent, loaded)
        for note in (descent.title, *descent.notes()):
            messages.print(note)
    return loaded


def train(
    loaded: Loaded,
    folder: RunFolder,
    messages: Console,
    plugins: Sequence[Any] = (),
    loggers: Sequence[Any] = (),
    stop: Any = None,
    resume: bool = False,
) -> None:
    """Execute a run, and show how far it has come.

    Raises:
        InputError: whatever goes wrong and is not our mistake, with the remedy.
        Stopped: it was asked to stop, and has saved what it had.
    """
    from cl_sr.runs.execute import execute
    from cl_sr.runs.progress import ProgressLogger

    plan = loaded.plan
    progress = ProgressLogger(messages, sum(plan.iterations), len(plan.iterations))
    with explained(folder.path), progress:
        execute(
            loaded, folder, plugins=plugins, loggers=[progress, *loggers], stop=stop, resume=resume
        )


@contextmanager
def explained(out: Path | None) -> Iterator[None]:
    """What goes wrong inside is told in one line with its remedy, where it is not our mistake.

    Raises:
        InputError: a full disk, too little memory, or what a user's plug-in has raised.
    """
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        if out_of_memory(error):
            raise InputError(
                "too little memory for this run: lower train.batch_size or eval.batch_size, or "
                "take a smaller preset"
            ) from error
        if isinstance(error, OSError) and error.errno in UNWRITABLE and out is not None:
            raise InputError(
                f"cannot write to {out}: {error.strerror}; make room or restore the permission, "
                "then go on with --resume"
            ) from error
        if line := blame(error):
            raise InputError(line) from error
        raise


@contextmanager
def quiet() -> Iterator[None]:
    """Libraries warn about themselves when they are imported and used: not in here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(?!cl_sr)")
        yield


def _folders(data: Path | str | Sequence[Path | str] | Mapping[str, Path | str]) -> list[str]:
    """As `--data` is given."""
    if isinstance(data, Mapping):
        return [f"{domain}={folder}" for domain, folder in data.items()]
    return [str(data)] if isinstance(data, Path | str) else [str(item) for item in data]


def _frame(rows: list[dict[str, Any]]) -> Any:
    try:
        import pandas
    except ImportError:
        return rows
    return pandas.DataFrame(rows)
