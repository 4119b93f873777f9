"""A sweep: a configuration, and the grid of what is varied in it.

A sweep is a YAML file:

    title: Which time-steps to fine-tune
    preset: tiny                          # the run to start from (default: demo)
    run:                                  # keys put over it
      eval: {images: 100}
    grid:                                 # every combination; a list of grids: those of each
      seed: [0, 1, 2]
      strategy: [finetune, "timestep-window:stop=200"]
      # or an option of a strategy that all members have: strategy.replay.size: [4, 16]
    baseline: {strategy: finetune}        # what the comparison takes shares of
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from cl_sr.config import (
    DEFAULT_PRESET,
    PRESETS,
    RunConfig,
    check_key,
    key_names,
    pick,
    presets,
    put,
    put_all,
    put_data,
    read_preset,
    resolve,
    shipped_sweeps,
    split_override,
)
from cl_sr.errors import InputError, nearest
from cl_sr.strategies import find_strategy, read_choices, spell, typed
from cl_sr.yaml_text import read_yaml

MOST_MEMBERS = 10_000  # more are a slip
FOLDERS = ("configs", "logs", "sources", "tables")  # of a sweep, beside its members
WHERE = ("device", "data.root", "data.folders", "data.memory_gb", "train.workers")
Grid = dict[str, list[Any]]


class SweepFile(BaseModel):
    """What stands in a sweep's file."""

    model_config = ConfigDict(extra="forbid")

    title: str = ""
    preset: str = DEFAULT_PRESET
    run: dict[str, Any] = {}
    grid: Grid | list[Grid]
    baseline: dict[str, Any] = {}


@dataclass(frozen=True)
class Member:
    """One run of a sweep.

    Attributes:
        name: of its folder.
        config: the whole configuration.
    """

    name: str
    config: RunConfig

    def values(self, keys: Sequence[str]) -> dict[str, Any]:
        """Of these keys, as they were checked: strategies with their values spelt out."""
        return {key: _value(self.config, key) for key in keys}


@dataclass(frozen=True)
class Sweep:
    """A checked sweep.

    Attributes:
        name: of the file.
        title: what it asks.
        keys: what is varied, in the order of the file.
        baseline: by key, the values of the runs that others are compared with.
        members: at least one; their names and configurations differ.
    """

    name: str
    title: str
    keys: list[str]
    baseline: dict[str, Any]
    members: list[Member]

    def fixed(self) -> dict[str, Any]:
        """What all members have in common, but for where and how they are run."""
        first = self.members[0].config
        varied = {*self.keys, *(key.split(".")[0] for key in self.keys if "strategy" in key)}
        return {
            name: _value(first, name)
            for name in key_names(first.model_dump())
            if name not in {*varied, *WHERE} and not name.startswith("checkpoint.")
        }

    def description(self) -> dict[str, Any]:
        """What `sweep.json` holds: enough to compare the members without the file."""
        return {
            "name": self.name,
            "title": self.title,
            "fixed": self.fixed(),
            "keys": self.keys,
            "baseline": self.baseline,
            "members": {member.name: member.values(self.keys) for member in self.members},
        }


def read_sweep(
    name: str,
    *,
    data: Sequence[str] = (),
    device: str | None = None,
    overrides: Sequence[str] = (),
) -> Sweep:
    """A shipped sweep by its name, or a file, with overrides.

    Args:
        name: `small/time-steps`, or a path that ends with `.yaml`.
        data: as `--data` of `cl-sr run`.
        device: as `--device`.
        overrides: `key=value`. Of a key that is varied, the value or list of values to take; of
            any other, put over every member.

    Raises:
        InputError: no such sweep, an unknown key, an empty grid, members that cannot be.
    """
    file, path = _read(name)
    values = read_preset(file.preset)
    put_all(values, _leaves(file.run))
    grids = [dict(grid) for grid in (file.grid if isinstance(file.grid, list) else [file.grid])]
    varied = {key for grid in grids for key in grid}
    chosen_by_hand: set[str] = set()
    fixed = []
    for item in overrides:
        key, value = split_override(item)
        if key in varied:
            chosen = _choices(value, [v for grid in grids for v in grid.get(key, [])])
            chosen_by_hand.add(key)
            for grid in grids:
                grid |= {key: chosen} if key in grid else {}
        else:
            for other in varied:
                inside = other.startswith(f"{key}.") and key != "strategy"
                if inside or key.startswith(f"{other}."):
                    raise InputError(f"{item}: the grid varies {other}: give {other}=... instead")
            fixed.append((key, value))
    put_all(values, fixed)
    if device:
        put(values, "device", device)
    section = values.get("data")
    own = isinstance(section, dict) and bool(section.get("root") or section.get("folders"))
    put_data(values, data, own)
    members = _members(path, values, grids)
    keys = list(dict.fromkeys(key for grid in grids for key in grid))
    baseline = _baseline(path, values, file.baseline, members, keys, chosen_by_hand)
    return Sweep(
        Path(name).stem if path == Path(name) else name, file.title, keys, baseline, members
    )


def _choices(value: Any, present: Sequence[Any]) -> list[Any]:
    """The values that an override of a varied key means: one, or a list of them.

    Where every value is a list itself, such as `train.iterations`, a plain list is one value.
    """
    lists = bool(present) and all(isinstance(other, list) for other in present)
    if lists and isinstance(value, list) and not any(isinstance(part, list) for part in value):
        return [value]
    return value if isinstance(value, list) else [value]


def _baseline(
    path: Path,
    values: Mapping[str, Any],
    given: Mapping[str, Any],
    members: Sequence[Member],
    keys: Sequence[str],
    chosen: Collection[str],
) -> dict[str, Any]:
    """The baseline's values as they are checked.

    Raises:
        InputError: no member has them, though none was left out by hand.
    """
    for key in given:
        if key not in keys:
            raise InputError(f"{path}: baseline has {key!r}, which the grid does not vary")
    config = _resolved(path, values, given)
    found = {key: _value(config, key) for key in given}
    for key, value in found.items():
        if key not in chosen and all(_value(m.config, key) != value for m in members):
            raise InputError(f"{path}: baseline has {key}={given[key]}, which no member has")
    return found


def _value(config: RunConfig, key: str) -> Any:
    """Of a key, as it was checked: strategies as on the command line, with typed options."""
    if key.split(".")[0] != "strategy":
        return pick(config.model_dump(mode="json"), key)
    if key == "strategy":
        return spell(config.strategy)
    return pick({"strategy": config.strategy}, key)


def _read(name: str) -> tuple[SweepFile, Path]:
    path = Path(name) if name.endswith((".yaml", ".yml")) else PRESETS / f"{name}.yaml"
    if path != Path(name) and name in presets():
        raise InputError(f"{name!r} is a preset of one run: cl-sr run --preset {name}")
    if path != Path(name) and name not in shipped_sweeps():
        raise InputError(
            f"unknown sweep {name!r}: {nearest(name, shipped_sweeps())} (or a file: ./mine.yaml)"
        )
    values = read_yaml(path)
    if "grid" not in values:
        raise InputError(f"{path} has no grid: it is no sweep, but may be a run (cl-sr run)")
    if not values["grid"]:
        raise InputError(f"{path}: the grid is empty: give it keys with lists of values")
    try:
        return SweepFile.model_validate(values), path
    except ValidationError as error:
        first = error.errors()[0]
        # Without the kinds that a grid may have, which are pydantic's words.
        where = ".".join(str(part) for part in first["loc"] if not str(part).endswith("]"))
        if first["type"] == "extra_forbidden":
            known = nearest(where, SweepFile.model_fields)
            raise InputError(f"{path}: unknown key {where!r}: {known}") from error
        raise InputError(
            f"{path}: {where}: {first['msg'].lower()}; a grid is keys with lists of values, such "
            "as seed: [0, 1]"
        ) from error


def _leaves(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested sections, or dotted keys, as dotted keys; what is a value is left to the check."""
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        section = isinstance(value, Mapping) and name not in ("data.folders", "data.shares")
        found += _leaves(value, f"{name}.") if section else [(name, value)]
    return found


def _members(path: Path, values: Mapping[str, Any], grids: Sequence[Grid]) -> list[Member]:
    if not all(grids):
        raise InputError(f"{path}: the grid is empty: give it keys with lists of values")
    for grid in grids:
        for key, choices in grid.items():
            try:
                check_key(key)
            except InputError as error:
                raise InputError(f"{path}: {error}") from error
            if not choices:
                raise InputError(f"{path}: grid.{key} has no values")
    points = [
        dict(zip(grid, chosen, strict=True))
        for grid in grids
        for chosen in itertools.islice(itertools.product(*grid.values()), MOST_MEMBERS + 1)
    ]
    if len(points) > MOST_MEMBERS:
        raise InputError(f"{path}: the grid has more than {MOST_MEMBERS} members")
    found: dict[str, Member] = {}
    for point in points:
        config = _resolved(path, values, point)
        text = config.model_dump_json()
        if text not in found:  # grids may overlap
            taken = {member.name for member in found.values()}
            found[text] = Member(_name(point, text, taken), config)
    return list(found.values())


def _resolved(path: Path, values: Mapping[str, Any], point: Mapping[str, Any]) -> RunConfig:
    merged = copy.deepcopy(dict(values))
    try:
        put_all(merged, point.items())
        config = resolve(merged)
        # However they are spelt, the same options are the same.
        choices = tuple(typed(choice, find_strategy(choice)) for choice in config.strategy)
        return config.model_copy(update={"strategy": choices})
    except InputError as error:
        shown = ", ".join(f"{key}={value}" for key, value in point.items())
        raise InputError(f"{path}: the member {shown}: {error}") from error


def _name(point: Mapping[str, Any], text: str, taken: set[str]) -> str:
    """A folder's name that tells the member apart: all that the grid sets, the seed last."""
    parts = []
    for key in sorted(point, key=lambda key: key == "seed"):
        value = spell(read_choices(point[key])) if key == "strategy" else point[key]
        shown = value if isinstance(value, str) else json.dumps(value)
        parts.append(shown if key in ("strategy", "stream") else f"{key.rsplit('.', 1)[-1]}{shown}")
    name = re.sub(r"[^A-Za-z0-9.=]+", "-", "-".join(parts)).strip("-.") or "run"
    if name in taken or name in FOLDERS or len(name) > 100:
        name = f"{name[:90]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return name
