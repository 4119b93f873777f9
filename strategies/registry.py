"""Strategies by name: shipped ones, those of installed packages, those of a file; with options.

name:option=value,option=value          shipped, or of a package (entry points `cl_sr.strategies`)
./mine.py:option=value                  a file with one strategy; ./mine.py:Mine where it has more
avalanche:ReplayPlugin:mem_size=100     a plugin of Avalanche
timestep-window:stop=200+replay         several, which act together
"""

from __future__ import annotations

import difflib
import inspect
import os
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from cl_sr.errors import InputError, nearest
from cl_sr.plugins import Installed, installed, load_file, shipped
from cl_sr.strategies.base import Strategy
from cl_sr.strategies.composition import Composition

GROUP = "cl_sr.strategies"


def shipped_strategies() -> dict[str, type[Strategy]]:
    """The strategies of this folder, by name."""
    modules = shipped("cl_sr.strategies", Path(__file__).parent)
    found = [cls for module in modules for cls in _declared(module).values()]
    return {cls.title(): cls for cls in found}


def installed_strategies() -> dict[str, Installed]:
    """Those that installed packages bring by the entry-point group `cl_sr.strategies`."""
    return installed(GROUP)


def find_strategy(text: str) -> Strategy:
    """A strategy from its text; several joined by `+` are a `Composition`.

    Raises:
        InputError: unknown name or option, a value of the wrong type, strategies that cannot be
            composed.
    """
    parts = [_find(part) for part in split_composition(text)]
    return parts[0] if len(parts) == 1 else Composition(tuple(parts))


def find_class(name: str) -> type[Strategy]:
    """A shipped strategy, one of an installed package, or one of a file.

    Raises:
        InputError: there is none of this name, or its package is broken.
    """
    if name.split(":")[0].endswith(".py"):
        return _from_file(name)
    strategies = shipped_strategies()
    if name in strategies:
        return strategies[name]
    others = installed_strategies()
    if name in others:
        cls = others[name].load()
        if not (isinstance(cls, type) and issubclass(cls, Strategy)):
            raise InputError(
                f"{others[name]} is not a class derived from cl_sr.strategies.Strategy"
            )
        return _checked(cls, str(others[name]))
    known = [*strategies, *others]
    raise InputError(
        f"unknown strategy {name!r}: {nearest(name, known)} (or a file: ./mine.py:Mine)"
    )


def split_composition(text: str) -> list[str]:
    """The texts of the strategies that act together.

    A `+` parts them where the name of a strategy or a file comes after it; values may hold others.
    """
    names = "|".join(map(re.escape, [*shipped_strategies(), *installed_strategies()]))
    file = r"(?:[^+,=]*?\.py)"
    return [part.strip() for part in re.split(rf"\s*\+\s*(?=(?:{names}|{file})(?:$|[\s:+]))", text)]


def _find(text: str) -> Strategy:
    name, options = _parts(text)
    return _with_options(find_class(name), options)


def _parts(text: str) -> tuple[str, str]:
    """The name, or `file.py` or `file.py:Class`; and the options."""
    file, suffix, rest = text.partition(".py")
    if suffix and rest[:1] in ("", ":"):
        match = re.match(r":([A-Za-z_]\w*)(?:$|:)", rest)
        name = file + suffix + (f":{match[1]}" if match else "")
        return name, text[len(name) + 1 :]
    name, _, options = text.partition(":")
    if name == "avalanche" and options:  # the plugin is an option like any other
        plugin, _, arguments = options.partition(":")
        options = (f"{arguments}," if arguments else "") + f"plugin={plugin}"
    return name, options


def _declared(module: Any) -> dict[str, type[Strategy]]:
    """The strategies that a module declares, without those that it imports."""
    return {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Strategy)
        and value.__module__ == module.__name__
    }


def _from_file(name: str) -> type[Strategy]:
    """The strategy of a user's file: the class that is named, or the only one.

    Raises:
        InputError: no such file or class, one of several, or a name that is taken.
    """
    path, _, wanted = name.partition(":")
    found = _declared(load_file(path))
    if wanted and wanted not in found:
        raise InputError(f"{path}: no strategy {wanted!r} in it: {nearest(wanted, found)}")
    if not wanted and len(found) != 1:
        raise InputError(
            f"{path} holds {len(found)} classes derived from cl_sr.strategies.Strategy "
            f"({', '.join(found)}): name one as {path}:CLASS"
        )
    return _checked(found[wanted] if wanted else next(iter(found.values())), path)


def _checked(cls: type[Strategy], origin: str) -> type[Strategy]:
    """A strategy that is not ours, if it is made as they are."""
    if not is_dataclass(cls) or "__dataclass_fields__" not in vars(cls):
        raise InputError(f"{origin}: put @dataclass(frozen=True) before class {cls.__name__}")
    hooks = [name for name in dir(Strategy) if not name.startswith("_")]
    for name, value in vars(cls).items():
        near = difflib.get_close_matches(name, hooks, n=1, cutoff=0.8)
        if callable(value) and name not in hooks and near:
            raise InputError(f"{origin}: {cls.__name__}.{name}: did you mean the hook {near[0]!r}?")
        if name in hooks and inspect.isfunction(value):
            taken = list(inspect.signature(getattr(Strategy, name)).parameters)
            try:
                inspect.signature(value).bind(*taken)
            except TypeError:
                raise InputError(
                    f"{origin}: {cls.__name__}.{name} must take ({', '.join(taken)})"
                ) from None
    if cls.title() in shipped_strategies():
        raise InputError(
            f"{origin}: {cls.title()!r} is a shipped strategy: name the class otherwise"
        )
    return cls


def spell(strategy: Strategy, text: str) -> str:
    """The text that a strategy was found by, with its values as the strategy took them.

    So relative paths are absolute, and the text repeats the run from any folder.
    """
    parts = strategy.parts if isinstance(strategy, Composition) else (strategy,)
    texts = split_composition(text)
    return "+".join(_spell(part, text) for part, text in zip(parts, texts, strict=True))


def _spell(strategy: Strategy, text: str) -> str:
    name, options = _parts(text)
    if name == "avalanche":
        return text
    given = [part.partition("=")[0] for part in _split(options)]
    values = {key: getattr(strategy, key) for key in given}
    shown = ",".join(
        f"{key}={str(value).lower() if isinstance(value, bool) else value}"
        for key, value in values.items()
    )
    file, colon, wanted = name.partition(".py")
    name = os.path.abspath(os.path.expanduser(file)) + colon + wanted if colon else name
    return f"{name}:{shown}" if shown else name


def _split(options: str) -> list[str]:
    """At commas before `name=`, as values may hold commas."""
    return [part for part in re.split(r",(?=\w+=|$)", options) if part]


def _with_options(cls: type[Strategy], text: str) -> Strategy:
    from pydantic import TypeAdapter, ValidationError  # not needed to list strategies

    values: dict[str, str] = {}
    for part in _split(text):
        key, equals, value = part.partition("=")
        if not equals:
            raise InputError(f"strategy {cls.title()}: {part!r} is not option=value")
        if key in values:
            raise InputError(f"strategy {cls.title()}: {key} is given twice")
        values[key] = value
    values = cls.gather(values)
    known = {item.name for item in fields(cls) if item.init}
    for key in values:
        if not known:
            raise InputError(f"strategy {cls.title()} has no options, but was given {key!r}")
        if key not in known:
            raise InputError(f"strategy {cls.title()} has no option {key!r}: {nearest(key, known)}")
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"strategy {cls.title()}: {where}={first['input']}: {first['msg'].lower()}"
        ) from error
