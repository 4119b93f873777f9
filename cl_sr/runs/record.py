"""What is known of a run from its folder: the one reader, for reports, comparisons and Python."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from cl_sr.config import resolve
from cl_sr.errors import InputError
from cl_sr.evaluation.matrix import ForgettingMatrix, from_csv
from cl_sr.evaluation.windows import WindowError, errors_from_csv
from cl_sr.runs.folder import RunFolder
from cl_sr.strategies import read_choices, spell
from cl_sr.yaml_text import read_yaml

# What stands in these files of every run.
CONFIG, STATUS, ENVIRONMENT = ("stream", "strategy"), ("state",), ("data", "metrics")
Images = dict[tuple[str, str], dict[str, list[float]]]


class Record:
    """A run on disk, finished or not. Files are read when they are asked for, once.

    Whatever is missing or damaged is an `InputError` with the file's name, but for the tables: of a
    run that has not come so far they are empty.

    Args:
        path: of the folder with its results.
        folder: the same, where it is known to be one.
    """

    def __init__(self, path: Path, folder: RunFolder | None = None) -> None:
        self.folder = folder or RunFolder.open(path)
        self.path = path

    @cached_property
    def config(self) -> dict[str, Any]:
        """What `config.yaml` says."""
        return self._complete("config.yaml", read_yaml(self.path / "config.yaml"), CONFIG)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The same, with the defaults of all keys: of runs of old, too. Nothing is imported."""
        with self._reading("config.yaml"):
            return resolve(self.config, reading=True).model_dump(mode="json")

    @cached_property
    def strategy(self) -> str:
        """As on the command line."""
        with self._reading("config.yaml"):
            return spell(read_choices(self.config["strategy"]))

    @cached_property
    def status(self) -> dict[str, Any]:
        """`state`, `iteration`, `of`, and where it failed `reason`."""
        return self._complete("status.json", self.folder.read_json("status.json"), STATUS)

    @property
    def state(self) -> str:
        """`finished`, `failed`, `running`, or `interrupted`: by hand, or killed."""
        state = str(self.status["state"])
        if state in ("finished", "failed", "interrupted"):
            return state
        return "running" if self.folder.locked else "interrupted"

    @cached_property
    def environment(self) -> dict[str, Any]:
        """What `env.json` says: versions, device, data, and by metric whether higher is better."""
        return self._complete("env.json", self.folder.read_json("env.json"), ENVIRONMENT)

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """The records of `metrics.jsonl`; a last line cut short by a kill is left out."""
        path = self.path / "metrics.jsonl"
        found: list[dict[str, Any]] = []
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
            try:
                found.append(json.loads(line))
            except ValueError:
                break
        return found

    @cached_property
    def matrices(self) -> list[ForgettingMatrix]:
        """The forgetting matrices, one a metric."""
        if not self.folder.has("matrix.csv"):
            return []
        text, directions = self.folder.read_text("matrix.csv"), self.environment["metrics"]
        with self._reading("matrix.csv"):
            return from_csv(text, directions)

    @cached_property
    def images(self) -> Images:
        """Every test image's metrics: by `after` and domain, then by metric."""
        found: Images = {}
        if not self.folder.has("images.csv"):
            return found
        with self._reading("images.csv"):
            for line in csv.DictReader(io.StringIO(self.folder.read_text("images.csv"))):
                place = line.pop("after"), line.pop("domain")
                del line["image"]
                values = found.setdefault(place, {name: [] for name in line})
                for name, value in line.items():
                    values[name].append(float(value))
        return found

    @cached_property
    def windows(self) -> list[WindowError]:
        """The denoising errors by time-steps."""
        if not self.folder.has("windows.csv"):
            return []
        with self._reading("windows.csv"):
            return list(errors_from_csv(self.folder.read_text("windows.csv")))

    @cached_property
    def costs(self) -> dict[str, dict[str, Any]]:
        """Of each experience: iterations, seconds, extra parameters, bytes kept."""
        return self.folder.read_json("costs.json") if self.folder.has("costs.json") else {}

    @cached_property
    def hashes(self) -> dict[str, tuple[list[str], list[str]]]:
        """By domain, the hashes of the images that were trained on, and of those tested on."""
        found: dict[str, tuple[list[str], list[str]]] = {}
        with self._reading("manifest.csv"):
            for line in csv.DictReader(io.StringIO(self.folder.read_text("manifest.csv"))):
                sides = found.setdefault(line["domain"], ([], []))
                sides[line["side"] != "train"].append(line["sha256"])
        return found

    @property
    def domains(self) -> list[str]:
        """Of the stream, in order."""
        return list(self.environment["data"])

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        """What goes wrong inside is told with the file's name."""
        path = self.path / name
        try:
            yield
        except InputError as error:
            raise InputError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
        except (KeyError, ValueError, TypeError, AttributeError, csv.Error) as error:
            raise InputError(
                f"{path} is damaged ({type(error).__name__}: {error}): repeat the run from its "
                "config.yaml"
            ) from error

    def _complete(self, name: str, values: dict[str, Any], needed: Sequence[str]) -> dict[str, Any]:
        """What a file holds, if it has what every run's has."""
        if missing := [key for key in needed if key not in values]:
            raise InputError(f"{self.path / name} is damaged: it has no {' and no '.join(missing)}")
        return values


def files_tested(record: Record) -> dict[str, list[tuple[str, str]]]:
    """By domain, each test image's path below its folder (or stand-in's name) and its hash.

    Raises:
        InputError: `manifest.csv` is gone, or damaged.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    with record._reading("manifest.csv"):
        for line in csv.DictReader(io.StringIO(record.folder.read_text("manifest.csv"))):
            if line["side"] != "train":
                found.setdefault(line["domain"], []).append((line["path"], line["sha256"]))
    return found


def missing_files(path: Path, names: Sequence[str]) -> list[str]:
    """Which of a run's files are not there."""
    return [name for name in names if not (path / name).is_file()]
