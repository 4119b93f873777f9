"""Finished runs, read for a comparison: from single folders, folders of runs, or sweeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cl_sr.config import budgets, pick, read_yaml, resolve
from cl_sr.errors import InputError
from cl_sr.evaluation.bootstrap import Array
from cl_sr.evaluation.matrix import BICUBIC, INIT
from cl_sr.evaluation.windows import errors_from_csv
from cl_sr.sweeps.folder import is_sweep, read_description
from cl_sr.training.run_folder import RunFolder


@dataclass(frozen=True)
class Finished:
    """A finished run as a comparison sees it.

    Attributes:
        path: its folder.
        config: its configuration.
        data: of each domain: source, number of images.
        environment: as in `env.json`.
        manifest: the hash of the list of its images.
        tested: by domain, the hashes of the images that were tested on, in order.
        metrics: by name, whether higher is better.
        images: by row and domain, then by metric, a value an image.
        records: of every evaluation, as in `metrics.jsonl`.
        costs: by experience.
        windows: by row, domain, start and stop: the denoising error.
        varied: of a sweep's member, what the grid has set.
    """

    path: Path
    config: dict[str, Any]
    data: dict[str, Any]
    environment: dict[str, Any]
    manifest: str
    tested: dict[str, list[str]]
    metrics: dict[str, bool]
    images: Mapping[tuple[str, str], Mapping[str, list[float]]]
    records: list[dict[str, Any]]
    costs: dict[str, dict[str, Any]]
    windows: Mapping[tuple[str, str, int, int], float]
    varied: Mapping[str, Any] = field(default_factory=dict)

    @property
    def strategy(self) -> str:
        return str(self.config["strategy"])

    @property
    def seed(self) -> int:
        return int(self.config["seed"])

    @property
    def domains(self) -> list[str]:
        return list(self.data)

    @cached_property
    def rows(self) -> list[str]:
        """What was learnt, in order; `init` where nothing was."""
        rows = [*dict.fromkeys(after for after, _ in self.images if after != BICUBIC)]
        return [row for row in rows if row != INIT] or rows

    @property
    def by_domain(self) -> bool:
        """Whether it learnt one domain after the other, and all of them."""
        knew = bool(self.first_iterations or self.config["init"])
        return self.rows == self.domains and knew

    def check(self) -> None:
        """Refuse tables with holes.

        Raises:
            ValueError: a domain or an image is missing somewhere.
        """
        for domain in self.domains:
            counts = {
                len(self.images[row, domain][metric])
                for row in (BICUBIC, *self.rows)
                for metric in self.metrics
            }
            if len(counts) != 1 or not self.rows:
                raise ValueError(f"images.csv has not all images of {domain} in every row")

    @property
    def later_iterations(self) -> list[int]:
        """Of the domains after the first."""
        return budgets(self.config["train"]["iterations"], len(self.domains))[1:]

    def value(self, key: str) -> Any:
        """Of a configuration key: what the grid has set, or the configuration says."""
        return self.varied[key] if key in self.varied else self.setting(key)

    def setting(self, key: str) -> Any:
        """What the configuration says."""
        return pick(self.config, key)

    @property
    def first_iterations(self) -> int:
        """Of the first domain."""
        return budgets(self.config["train"]["iterations"], len(self.domains))[0]

    def values(self, after: str, domain: str, metric: str) -> Array:
        return np.asarray(self.images[after, domain][metric])


def read_finished(path: Path) -> Finished:
    """A run's results.

    Raises:
        InputError: it is no run, is not finished, evaluated nothing, or is damaged.
    """
    if not path.exists():
        raise InputError(f"{path} has not been run")
    folder = RunFolder.open(path)
    if not folder.finished:
        raise InputError(f"{path} is not finished")
    if not folder.has("images.csv"):
        raise InputError(
            f"{path} has no images.csv: was eval.images 0, or is it of an old version?"
        )
    if missing := [
        n for n in ("costs.json", "windows.csv", "env.json", "manifest.csv") if not folder.has(n)
    ]:
        raise InputError(f"{path} has no {' and no '.join(missing)}: repeat it with `cl-sr run`")
    try:
        environment = folder.read_json("env.json")
        config = resolve(read_yaml(path / "config.yaml")).model_dump(mode="json")
        windows = {
            (found.after, found.domain, found.start, found.stop): found.error
            for found in errors_from_csv(folder.read_text("windows.csv"))
        }
        run = Finished(
            path,
            config,
            environment["data"],
            environment,
            environment["manifest_sha256"],
            {domain: tested for domain, (_, tested) in folder.hashes().items()},
            environment["metrics"],
            folder.images(),
            list(folder.metrics()),
            folder.read_json("costs.json"),
            windows,
        )
        run.check()
        return run
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise InputError(
            f"{path} is damaged ({type(error).__name__}: {error}): repeat it with `cl-sr run`"
        ) from error


@dataclass(frozen=True)
class Found:
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


def find_runs(paths: Sequence[Path]) -> Found:
    """The finished runs in folders, which are runs, hold some, or are a sweep.

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
            runs.append(replace(read_finished(folder), varied=varied))
        except InputError as error:
            left_out.append(str(error))
    if not runs:
        why = f": {left_out[0]}" if left_out else "; `cl-sr run` makes them"
        raise InputError(f"no finished runs in {', '.join(map(str, paths))}{why}")
    if len(sweeps) != 1 or len(paths) != 1:
        return Found(runs, left_out)
    (sweep,) = sweeps
    title, commands = str(sweep.get("title", "")), tuple(map(str, sweep.get("commands", ())))
    return Found(runs, left_out, tuple(sweep["keys"]), sweep["baseline"], title, commands)
