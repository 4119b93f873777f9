"""Finished runs, read for a comparison: from single folders, folders of runs, or sweeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cl_sr.config import budgets, pick
from cl_sr.errors import InputError
from cl_sr.evaluation.matrix import BICUBIC, INIT
from cl_sr.evaluation.statistics import Array
from cl_sr.runs.evaluation import Evaluated, command_of
from cl_sr.runs.record import Record, missing_files
from cl_sr.strategies import read_choices, spell
from cl_sr.sweeps.folder import is_sweep, read_description


@dataclass(frozen=True)
class Finished:
    """A finished run as a comparison sees it.

    Attributes:
        record: the run.
        varied: of a sweep's member, what the grid has set.
    """

    record: Record
    varied: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.record.run if isinstance(self.record, Evaluated) else self.record.path

    @property
    def seed(self) -> int:
        return int(self.record.settings["seed"])

    @property
    def domains(self) -> list[str]:
        return self.record.domains

    @property
    def directions(self) -> dict[str, bool]:
        """By metric, whether higher is better."""
        found: dict[str, bool] = self.record.environment["metrics"]
        return found

    @property
    def tested(self) -> dict[str, list[str]]:
        """By domain, the hashes of the images that were tested on, in order."""
        return {domain: tested for domain, (_, tested) in self.record.hashes.items()}

    @cached_property
    def windows(self) -> dict[tuple[str, str, int, int], float]:
        """By row, domain, start and stop: the denoising error."""
        return {(e.after, e.domain, e.start, e.stop): e.error for e in self.record.windows}

    @cached_property
    def rows(self) -> list[str]:
        """What was learnt, in order; `init` where nothing was."""
        rows = [*dict.fromkeys(after for after, _ in self.record.images if after != BICUBIC)]
        return [row for row in rows if row != INIT] or rows

    @property
    def iterations(self) -> list[int]:
        """Of each domain, as configured."""
        return budgets(self.setting("train.iterations"), len(self.domains))

    @property
    def by_domain(self) -> bool:
        """Whether it learnt one domain after the other, and all of them."""
        knew = bool(self.iterations[0] or self.setting("init"))
        return self.rows == self.domains and knew

    def check(self) -> None:
        """Refuse tables with holes.

        Raises:
            ValueError: a domain or an image is missing somewhere.
        """
        for domain in self.domains:
            counts = {
                len(self.values(row, domain, metric))
                for row in (BICUBIC, *self.rows)
                for metric in self.directions
            }
            if len(counts) != 1 or not self.rows:
                raise ValueError(f"images.csv has not all images of {domain} in every row")

    def value(self, key: str) -> Any:
        """Of a configuration key: what the grid has set, or the configuration says."""
        return self.varied[key] if key in self.varied else self.setting(key)

    def setting(self, key: str) -> Any:
        """What the configuration says; strategies as on the command line."""
        found = pick(self.record.settings, key)
        return spell(read_choices(found)) if key == "strategy" else found

    def values(self, after: str, domain: str, metric: str) -> Array:
        """A metric of every test image."""
        return np.asarray(self.record.images[after, domain][metric])


def read_finished(
    path: Path, varied: Mapping[str, Any] | None = None, evaluation: str | None = None
) -> Finished:
    """A run's results.

    Args:
        path: of its folder.
        varied: of a sweep's member, what the grid has set.
        evaluation: the name of the one that its results are taken from; None: the run's own.

    Raises:
        InputError: it is no run, is not finished, evaluated nothing, or is damaged.
    """
    if not path.exists():
        raise InputError(f"{path} has not been run")
    record = Record(path)
    if not record.folder.finished:
        raise InputError(f"{path} is not finished")
    if evaluation is not None:
        record = _evaluated(path, evaluation)
        varied = {k: v for k, v in (varied or {}).items() if not k.startswith("eval.")}
    run, path = Finished(record, varied or {}), record.path
    if missing_files(path, ["images.csv"]):
        raise InputError(
            f"{path} has no images.csv: was eval.images 0, or is it of an old version?"
        )
    needed = ["costs.json", "windows.csv", "env.json", "manifest.csv"]
    if missing := missing_files(path, needed):
        raise InputError(f"{path} has no {' and no '.join(missing)}: repeat it with `cl-sr run`")
    try:
        run.check()
        _read_all(run)
        return run
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise InputError(
            f"{path} is damaged ({type(error).__name__}: {error}): repeat it with `cl-sr run`"
        ) from error


def _evaluated(path: Path, name: str) -> Evaluated:
    """An evaluation that has all states of a finished run.

    Raises:
        InputError: it has not, or there is none.
    """
    record = Evaluated(path, name)
    learnt = [after for after in Record(path).matrices[0].rows if after not in (BICUBIC, INIT)]
    if missing := [state for state in learnt if state not in record.about["states"]]:
        raise InputError(
            f"{record.path} lacks the state after {' and '.join(missing)}: {command_of(record)}"
        )
    return record


def _read_all(run: Finished) -> None:
    """What is damaged is told now, and not in the middle of a comparison."""
    _ = run.windows, run.tested, run.seed, run.iterations, run.by_domain
    _ = run.record.metrics, run.record.costs, run.record.environment["manifest_sha256"]


@dataclass(frozen=True)
class RunSet:
    """Runs to compare.

    Attributes:
        runs: the finished ones.
        left_out: why others are not among them.
        keys: what the sweep that they are of has varied; empty where they are of none.
        baseline: by key, the values of its baseline.
        title, commands: of the sweep.
    """

    runs: list[Finished]
    left_out: list[str]
    keys: tuple[str, ...] = ()
    baseline: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    commands: tuple[str, ...] = ()


def find_runs(paths: Sequence[Path], evaluation: str | None = None) -> RunSet:
    """The finished runs in folders, which are runs, hold some, or are a sweep.

    Args:
        paths: the folders.
        evaluation: see `read_finished`.

    Raises:
        InputError: there are none, or a path is no folder.
    """
    folders: dict[Path, Mapping[str, Any]] = {}
    sweeps = []
    for path in paths:
        if not path.is_dir():
            raise InputError(f"no folder {path}: name runs, or a folder of runs")
        if (path / "status.json").is_file():
            folders[path] = {}
        elif is_sweep(path):
            sweeps.append(read_description(path))
            folders |= {path / name: varied for name, varied in sweeps[-1]["members"].items()}
        else:
            folders |= {file.parent: {} for file in sorted(path.glob("*/status.json"))}
    runs, left_out = [], []
    for folder, varied in folders.items():
        try:
            runs.append(read_finished(folder, varied, evaluation))
        except InputError as error:
            left_out.append(str(error))
    if not runs:
        why = f": {left_out[0]}" if left_out else "; `cl-sr run` makes them"
        raise InputError(f"no finished runs in {', '.join(map(str, paths))}{why}")
    if len(sweeps) != 1 or len(paths) != 1:
        return RunSet(runs, left_out)
    (sweep,) = sweeps
    title, commands = str(sweep.get("title", "")), tuple(map(str, sweep.get("commands", ())))
    keys = (key for key in sweep["keys"] if evaluation is None or not key.startswith("eval."))
    return RunSet(runs, left_out, tuple(keys), sweep["baseline"], title, commands)
