"""The folder of a run: what is where, and writing it so that nothing is ever half a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cl_sr.config import RunConfig, key_names, pick, resolve
from cl_sr.errors import InputError
from cl_sr.files import check_writable, locked, read_json, whole_folder, write_text
from cl_sr.strategies import find_strategy, spell, typed
from cl_sr.yaml_text import read_yaml

# Keys that say where a run is made, and not what it is: they may be others when it goes on.
WHERE = ("device", "data.root", "data.folders", "data.memory_gb", "train.workers")


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
                run = cls.open(path)
            except InputError as error:
                raise InputError(f"{error}; --overwrite replaces runs only") from error
            if run.locked:
                raise InputError(f"another process is at work in {path}: choose another --out")
        elif path.exists() and not path.is_dir():
            raise InputError(f"{path} is a file: choose another --out")
        check_writable(path)

    @classmethod
    def create(
        cls,
        path: Path,
        overwrite: bool,
        files: Mapping[str, str] | None = None,
        fill: Callable[[Path], None] = lambda folder: None,
    ) -> RunFolder:
        """A new folder; with `overwrite` in the place of an old run.

        Args:
            path: where.
            overwrite: replace a run.
            files: text by name; the folder appears with all of them or not at all.
            fill: puts more into it, before them.
        """
        cls.check_free(path, overwrite)
        try:
            if path.is_dir() and not any(path.iterdir()):  # maybe a mount, or where we stand
                fill(path)
                for name, text in (files or {}).items():
                    write_text(path / name, text)
                return cls(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_folder(path) as partial:
                fill(partial)
                for name, text in (files or {}).items():
                    write_text(partial / name, text)
        except OSError as error:
            raise InputError(f"cannot make {path}: {error}; choose another --out") from error
        return cls(path)

    @property
    def finished(self) -> bool:
        """Whether the run came to its end; not, where its status cannot be read."""
        try:
            return bool(self.read_json("status.json").get("state") == "finished")
        except InputError:
            return False

    def difference(self, config: RunConfig, besides: Collection[str] = ()) -> str | None:
        """The first key in which this run is another than a configuration's; None: it is its run.

        Where it is made (`WHERE`) is not looked at, nor are the keys `besides`, and nothing that
        its own configuration names is imported.
        """
        try:
            theirs = resolve(read_yaml(self.path / "config.yaml"), reading=True)
        except InputError:
            return "its config.yaml cannot be read"
        choices = tuple(typed(choice, find_strategy(choice)) for choice in config.strategy)
        old, new = (
            given.model_dump(mode="json") | {"strategy": spell(strategies)}
            for given, strategies in ((theirs, theirs.strategy), (config, choices))
        )
        for key in sorted(
            key_names(old, new), key="init".__eq__
        ):  # of a sweep's, init follows from the rest
            if key in WHERE or key in besides:
                continue
            brought = key.startswith(("model.", "diffusion."))  # by the weights
            if config.init and brought and key not in ("model.dropout", "diffusion.loss"):
                continue
            if pick(old, key) != pick(new, key):
                return f"its {key} is {pick(old, key)}, not {pick(new, key)}"
        return None

    def check_same(self, config: RunConfig) -> None:
        """Refuse to go on with this run under another configuration.

        Raises:
            InputError: it is another's.
        """
        if told := self.difference(config):
            raise InputError(
                f"{self.path} holds a run of another configuration ({told}): choose another --out"
            )

    def write(self, name: str, text: str) -> None:
        """Replace a text file in one step."""
        write_text(self.path / name, text)

    def has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def read_text(self, name: str) -> str:
        """A text file of the run.

        Raises:
            InputError: it is not there, or cannot be read.
        """
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read {self.path / name}: {error}") from error

    def write_json(self, name: str, value: Any) -> None:
        self.write(name, json.dumps(value, indent=2) + "\n")

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON file of the run; see `cl_sr.files.read_json`."""
        return read_json(self.path / name)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep every other process from this run; a process that dies lets go of it.

        Raises:
            InputError: another process has it.
        """
        with locked(self.path):
            yield

    @property
    def locked(self) -> bool:
        """Whether a process is at work in this run."""
        try:
            with self.lock():
                return False
        except InputError:
            return True
        except OSError:  # a folder that may only be read: nobody can be writing to it from here
            return False

    def check_links(self) -> None:
        """Refuse a run whose folders lead elsewhere, or are none.

        Raises:
            InputError: with the remedy.
        """
        for name in ("checkpoints", "samples"):
            path = self.path / name
            if path.is_symlink() or (path.exists() and not path.is_dir()):
                raise InputError(f"{path} is a link or a file: runs keep all in their own folders")
