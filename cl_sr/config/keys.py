"""Keys of a configuration as `section.key`: naming, reading and overriding them."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from cl_sr.config.explain import checked, fields_of, nearest_key
from cl_sr.config.schema import RunConfig
from cl_sr.data.domains import DOMAIN_NAME
from cl_sr.errors import InputError, nearest
from cl_sr.models.family import DEFAULT, shipped_families
from cl_sr.strategies import (
    Choice,
    check_option,
    installed_strategies,
    read_choices,
    shipped_strategies,
    spell,
)
from cl_sr.strategies.choice import split_file
from cl_sr.yaml_text import parse_yaml

FAMILY = "model.family"


def keys() -> Iterator[tuple[str, Any]]:
    """Every key with its field (annotation, default, description); of the model, SR3's."""
    for name, info in fields_of(RunConfig):
        if name.startswith("model."):
            continue
        yield name, info
        if name == "device":  # the section before it in config.yaml
            yield from fields_of(shipped_families()[DEFAULT].keys, "model.")


def key_names(*configurations: Mapping[str, Any]) -> list[str]:
    """Every key of these configurations: also those of models that are not of SR3's family."""
    own = [f"model.{name}" for values in configurations for name in values["model"]]
    return list(dict.fromkeys([*(name for name, _ in keys()), *own]))


def resolve(
    values: Mapping[str, Any], overrides: Sequence[str] = (), *, reading: bool = False
) -> RunConfig:
    """Check a configuration with `key=value` overrides put over it.

    Args:
        values: nested sections.
        overrides: of the command line.
        reading: a run that somebody made: no file that it names is imported.

    Raises:
        InputError: an unknown key (with the nearest valid one), or a wrong type or value.
    """
    try:
        merged = _copy(values)
    except RecursionError as error:
        raise InputError("the configuration is nested too deeply, or contains itself") from error
    put_all(merged, map(split_override, overrides))
    config: RunConfig = checked(RunConfig, merged, context={"reading": reading})
    return config


def _copy(values: Any) -> Any:
    return {k: _copy(v) for k, v in values.items()} if isinstance(values, Mapping) else values


def put_data(values: dict[str, Any], data: Sequence[str], own: bool) -> None:
    """Put `--data` or $CL_SR_DATA over the configuration's folders; with `own` it may have some."""
    if not data:
        if own or not os.environ.get("CL_SR_DATA"):
            return
        data = (os.environ["CL_SR_DATA"],)
    root, folders = None, {}
    for item in data:
        name, equals, path = item.partition("=")
        if equals and re.fullmatch(DOMAIN_NAME, name):
            folders[name] = path
        elif root is None:
            root = item
        else:
            raise InputError(f"--data {item}: a second folder for all domains; use DOMAIN=DIR")
    section = values.setdefault("data", {})
    if not isinstance(section, dict):
        raise InputError("data must hold keys and values")
    section |= {"root": root, "folders": folders}


def split_override(item: str) -> tuple[str, Any]:
    """The key and the value of a `key=value` of the command line.

    Raises:
        InputError: it is none.
    """
    key, equals, text = item.partition("=")
    if not equals or not key:
        raise InputError(f"{item!r} is not key=value, such as train.iterations=500")
    check_key(key)
    if key == "strategy" and not text.startswith(("[", "{")):
        return key, text  # it has a grammar of its own
    try:
        return key, parse_yaml(text)
    except ValueError as error:
        raise InputError(f"{key}={text}: not a YAML value") from error


def check_key(key: str) -> None:
    """Refuse a key that no configuration has.

    Of a model, only the check of its family can tell; so of a strategy from elsewhere.

    Raises:
        InputError: with the nearest one.
    """
    of_domain = re.fullmatch(rf"data\.(folders|shares)\.{DOMAIN_NAME}", key)
    of_model = re.fullmatch(r"model\.\w+", key)
    if key in dict(keys()) or of_domain or of_model:
        return
    if (of_strategy := _strategy_key(key)) is not None:
        name, option = of_strategy
        if (cls := shipped_strategies().get(name)) is not None:
            check_option(cls, option)
        return
    if key.startswith("strategy."):
        raise InputError(
            f"unknown key {key!r}: options of strategies are strategy.NAME.OPTION, such as "
            "strategy.replay.size"
        )
    raise InputError(f"unknown key {key!r}: {nearest_key(key, [name for name, _ in keys()])}")


def _strategy_key(key: str) -> tuple[str, str] | None:
    """The strategy and the option of `strategy.replay.size`."""
    match = re.fullmatch(r"strategy\.([\w-]+)\.(\w+)", key)
    return (match[1], match[2]) if match else None


def put_all(values: dict[str, Any], pairs: Iterable[tuple[str, Any]]) -> None:
    """Set several keys, each after those that it depends on; see `put`.

    An option comes after the strategies, and a model's keys after its family.
    """
    for key, value in sorted(pairs, key=lambda pair: (pair[0].count("."), pair[0] != FAMILY)):
        put(values, key, value)


def put(values: dict[str, Any], key: str, value: Any) -> None:
    """Set `section.key` in nested values, or `strategy.NAME.OPTION`.

    Another family of models leaves the keys of the one before it behind.

    Raises:
        InputError: there is no such key, or a section holds something else.
    """
    check_key(key)
    if (of_strategy := _strategy_key(key)) is not None:
        _put_option(values, *of_strategy, value)
        return
    *sections, last = key.split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise InputError(f"{section} must hold keys and values")
        values = inner
    if key == FAMILY and value != values.get(last, DEFAULT):
        values.clear()
    values[last] = value


def _put_option(values: dict[str, Any], name: str, option: str, value: Any) -> None:
    choices = read_choices(values.get("strategy", "finetune"))
    place = _place(choices, name)
    if place is None:
        known = [*shipped_strategies(), *installed_strategies()]
        there = [_label(choice) for choice in choices]
        near = difflib.get_close_matches(name, [*there, *known], n=1)
        remedy = f"add --strategy {name}" if name in known else nearest(name, near or there)
        raise InputError(
            f"strategy.{name}.{option}: {name} is not among the strategies ({spell(choices)}): "
            f"{remedy}"
        )
    changed = Choice(choices[place].name, {**choices[place].options, option: value})
    values["strategy"] = [*choices[:place], changed, *choices[place + 1 :]]


def _place(choices: Sequence[Choice], name: str) -> int | None:
    """Which choice is called so: by its name, or its file's."""
    for k, choice in enumerate(choices):
        if name in (choice.name, _label(choice)):
            return k
    return None


def _label(choice: Choice) -> str:
    """The name of a strategy in keys: of one in a file, the file's."""
    of_file = split_file(choice.name)
    return choice.name if of_file is None else Path(of_file[0]).stem


def pick(values: Any, key: str) -> Any:
    """What stands at `section.key` in nested values; None where there is no such place.

    Of `strategy.NAME.OPTION`, the option's default where it is not given.
    """
    if (of_strategy := _strategy_key(key)) is not None:
        name, option = of_strategy
        choices = read_choices(values["strategy"])
        place = _place(choices, name)
        if place is None:
            return None
        cls = shipped_strategies().get(name)
        defaults = {field.name: field.default for field in fields(cls)} if cls else {}
        return choices[place].options.get(option, defaults.get(option))
    for part in key.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values
