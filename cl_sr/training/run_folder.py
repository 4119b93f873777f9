"""The folder of a run: what is where, and writing it so that nothing is ever half a file."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cl_sr.errors import InputError
from cl_sr.evaluation.matrix import ForgettingMatrix, from_csv, to_csv


@dataclass(frozen=True)
class RunFolder:
    """One run on disk. `status.json` tells whether it is running, finished or interrupted."""

    path: Path

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run.

        Raises:
            InputError: the folder holds no run.
        """
        folder = cls(path)
        missing = [name for name in ("config.yaml", "status.json") if not (path / name).is_file()]
        if missing:
            raise InputError(f"{path} is not a run: it has no {' and no '.join(missing)}")
        return folder

    @classmethod
    def check_free(cls, path: Path, overwrite: bool) -> None:
        """Refuse a place that `create` could not take, changing nothing.

        Raises:
            InputError: with the remedy.
        """
        if path.is_dir() and any(path.iterdir()):
            if not overwrite:
                raise InputError(f"{path} is not empty: choose another --out, or add --overwrite")
            try:
                cls.open(path)
            except InputError as error:
                raise InputError(f"{error}; --overwrite replaces runs only") from error
        elif path.exists() and not path.is_dir():
            raise InputError(f"{path} is a file: choose another --out")
        parent = next(p for p in [path, *path.parents] if p.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            raise InputError(f"cannot write to {parent}: choose another --out")

    @classmethod
    def create(cls, path: Path, overwrite: bool) -> RunFolder:
        """A new, empty folder; with `overwrite` in the place of an old run."""
        cls.check_free(path, overwrite)
        try:
            if overwrite and path.is_dir():
                shutil.rmtree(path)
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make {path}: {error}; choose another --out") from error
        return cls(path)

    def write(self, name: str, text: str) -> None:
        """Replace a text file in one step."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        # Paths in a manifest may hold bytes that are not UTF-8.
        partial.write_text(text, encoding="utf-8", errors="surrogateescape")
        os.replace(partial, target)

    def write_json(self, name: str, value: Any) -> None:
        self.write(name, json.dumps(value, indent=2) + "\n")

    def read_json(self, name: str) -> Any:
        """A JSON file of the run.

        Raises:
            InputError: it is absent or damaged.
        """
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{self.path / name} cannot be read: {error}") from error

    def append_metrics(self, line: str) -> None:
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def metrics(self) -> Iterator[dict[str, Any]]:
        """The records of `metrics.jsonl`; a last line cut short by a kill is left out."""
        path = self.path / "metrics.jsonl"
        if not path.is_file():
            return
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                return

    def write_matrices(self, matrices: list[ForgettingMatrix]) -> None:
        self.write("matrix.csv", to_csv(matrices))

    def matrices(self) -> list[ForgettingMatrix]:
        """The forgetting matrices, one a metric."""
        path = self.path / "matrix.csv"
        if not path.is_file():
            return []
        return from_csv(path.read_text(encoding="utf-8"), self.read_json("env.json")["metrics"])
