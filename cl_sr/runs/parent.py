"""A finished run that another goes on from, and the configuration of that other one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from cl_sr.benchmarks import find_stream
from cl_sr.config import RunConfig, budgets, put_all, put_data, resolve, split_override
from cl_sr.errors import InputError
from cl_sr.files import read_json
from cl_sr.models.description import STATE_FORMAT, TENSORS, VALUES, WEIGHTS
from cl_sr.runs.record import Record
from cl_sr.yaml_text import read_yaml

ITERATIONS = "train.iterations"


class Parent:
    """A finished run, as the one that goes on from it sees it. It is only read.

    Args:
        path: of its folder.

    Attributes:
        record: all that is known of it.
        domains: of its stream, in order.
        config: what it was made with; nothing that it names is imported.

    Raises:
        InputError: no run, one that is not finished, or a damaged one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record = Record(path)
        if self.record.status["state"] != "finished":
            raise InputError(
                f"{path} is not finished: go on with it first (cl-sr run --resume {path})"
            )
        if not isinstance(self.record.environment["data"], dict):
            raise InputError(f"{path / 'env.json'} is damaged: repeat the run from its config.yaml")
        self.domains = self.record.domains
        self.config = resolve(self.record.config, reading=True)

    @property
    def budgets(self) -> list[int]:
        """The iterations of each of its domains."""
        return budgets(self.config.train.iterations, len(self.domains))

    def configuration(
        self, data: Sequence[str], keys: Mapping[str, Any], overrides: Sequence[str] = ()
    ) -> RunConfig:
        """Of a run that goes on from this one: its own, with what is given put over it.

        `train.iterations` may be those of all domains, or of the new ones.

        Args:
            data: as `--data`; folders that are not given stay the parent's.
            keys: put over it.
            overrides: `key=value` texts, put over all.

        Raises:
            InputError: an unknown key, or a wrong value.
        """
        values = read_yaml(self.path / "config.yaml")
        given = {**keys, **dict(map(split_override, overrides))}
        put_all(values, given.items())
        before = dict(values.get("data") or {})
        put_data(values, data, own=True)
        if data:
            section = values["data"]
            section["root"] = section["root"] or before.get("root")
            section["folders"] = (before.get("folders") or {}) | section["folders"]
        config = resolve(values)
        further = len(find_stream(config.stream).domain_names) - len(self.domains)
        count = config.train.iterations
        of_new = isinstance(count, int) or len(count) <= further
        if ITERATIONS in given and further > 0 and of_new:
            every = (*self.budgets, *budgets(count, further))
            train = config.train.model_copy(update={"iterations": every})
            config = config.model_copy(update={"train": train})
        return config

    def checkpoint(self, name: str) -> Path:
        return self.path / "checkpoints" / name

    @cached_property
    def within(self) -> list[tuple[int, int, Path]]:
        """The sound checkpoints within experiences: experience, iterations of the run, and path."""
        found = []
        for path in self.path.glob("checkpoints/iteration-*"):
            if damage(path):
                continue
            values = read_json(path / VALUES)
            if values.get("format") == STATE_FORMAT:  # of this version
                found.append((values["experience"], values["iteration"], path))
        return sorted(found)


def damage(path: Path) -> str:
    """What is wrong with a checkpoint, as far as it is seen without torch; empty: nothing."""
    try:
        values = read_json(path / VALUES)
        whole = all(type(values.get(name)) is int for name in ("experience", "iteration"))
        whole = whole and all(_is_whole(path / name) for name in (WEIGHTS, TENSORS))
    except (InputError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{path} is damaged ({error})"
    return "" if whole else f"{path} is damaged"


def _is_whole(path: Path) -> bool:
    """Whether a safetensors file is as long as its header says: the library needs torch to tell."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length)) if length <= size else {}
    ends = [about["data_offsets"][1] for name, about in header.items() if name != "__metadata__"]
    return bool(size == 8 + length + max(ends, default=0))
