"""Strategies by name: shipped ones, those of installed packages, those of a user's file."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from cl_sr.errors import InputError, nearest
from cl_sr.plugins import Installed, installed, load_file, shipped
from cl_sr.strategies.base import Strategy
from cl_sr.strategies.choice import Choice, from_plain, split_file
from cl_sr.strategies.composition import Composition
from cl_sr.strategies.traits import Traits

GROUP = "cl_sr.strategies"
# What this folder holds beside strategies.
INFRASTRUCTURE = (
    "base", "choice", "composition", "drawing", "learner", "memory", "registry", "traits",
)  # fmt: skip
# Hooks of old, and where what they did is done now.
GONE = {
    "budget": "curriculum",
    "check_net": "check, which is given the shapes of the weights",
    "conflict": "traits (does=...)",
    "contiguous": "traits",
    "denoiser": "experts",
    "extra_parameters": "experts",
    "gather": "a field of other_options",
    "hold_out": "adapt, with learner.images.hold_out",
    "learning_rate": "adapt, with learner.lr",
    "model": "model.family, see cl_sr/models/family.py",
    "needs_past": "traits",
    "paces": "traits (does=SETS_PACE)",
    "plain_start": "traits",
    "restore": "experts",
    "sampler": "traits (zero_shot=...)",
}


def shipped_strategies() -> dict[str, type[Strategy]]:
    """The strategies of this folder, by name."""
    modules = shipped("cl_sr.strategies", Path(__file__).parent, INFRASTRUCTURE)
    found = [cls for module in modules for cls in _declared(module).values()]
    return {cls.title(): cls for cls in found}


def installed_strategies() -> dict[str, Installed]:
    """Those that installed packages bring by the entry-point group `cl_sr.strategies`."""
    return installed(GROUP)


def read_choices(value: Any) -> tuple[Choice, ...]:
    """The choices of a configuration or a command line, see `cl_sr.strategies.choice`.

    No strategy of a package or a file is imported.

    Raises:
        InputError: it is none.
    """
    return from_plain(value, [*shipped_strategies(), *installed_strategies()])


def compose(*strategies: Any) -> Composition:
    """Strategies that act together: objects of `Strategy`, choices, or texts of them.

    Raises:
        InputError: unknown name or option, a value of the wrong type, strategies that cannot be
            composed.
    """
    parts: list[Strategy] = []
    for item in strategies:
        if isinstance(item, Strategy):
            parts.append(item)
        else:
            parts += [find_strategy(choice) for choice in read_choices(item)]
    return Composition(tuple(parts))


def find_strategy(choice: Choice | str) -> Strategy:
    """One strategy, with its options.

    Raises:
        InputError: unknown name or option, or a value of the wrong type; or there are several.
    """
    found = (choice,) if isinstance(choice, Choice) else read_choices(choice)
    if len(found) != 1:
        raise InputError(f"{choice}: these are {len(found)} strategies, and one is wanted")
    return _with_options(find_class(found[0].name), found[0].options)


def typed(choice: Choice, strategy: Strategy) -> Choice:
    """A choice with its options as the strategy took them: paths absolute, numbers numbers."""
    others = _others(type(strategy))
    taken: dict[str, Any] = getattr(strategy, others) if others else {}
    own = {item.name for item in fields(strategy)}
    options = {key: getattr(strategy, key) if key in own else taken[key] for key in choice.options}
    return Choice(choice.name, options)


def find_class(name: str) -> type[Strategy]:
    """A shipped strategy, one of an installed package, or one of a file.

    Raises:
        InputError: there is none of this name, or its package is broken.
    """
    if (of_file := split_file(name)) is not None:
        return _from_file(*of_file)
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
    # Of several, the text was not parted before a name that is unknown.
    wrong = next((part for part in map(str.strip, name.split("+")) if part not in known), "")
    if not wrong:
        raise InputError(f"strategy {name!r} lacks a name: write finetune, or replay+wise-ft")
    raise InputError(
        f"unknown strategy {wrong!r}: {nearest(wrong, known)} (or a file: ./mine.py:Mine)"
    )


def _declared(module: Any) -> dict[str, type[Strategy]]:
    """The strategies that a module declares, without those that it imports."""
    return {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Strategy)
        and value.__module__ == module.__name__
    }


def _from_file(path: str, wanted: str) -> type[Strategy]:
    """The strategy of a user's file: the class that is named, or the only one.

    Raises:
        InputError: no such file or class, one of several, or a name that is taken.
    """
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
    if "traits" in {item.name for item in fields(cls)}:
        raise InputError(
            f"{origin}: {cls.__name__}.traits is no option: write traits = Traits(...), without a "
            "type, or with ClassVar"
        )
    for base in cls.__mro__[: cls.__mro__.index(_shipped_base(cls))]:
        _check_hooks(base, {item.name for item in fields(cls)}, origin)
    if cls.title() in shipped_strategies():
        raise InputError(
            f"{origin}: {cls.title()!r} is a shipped strategy: name the class otherwise"
        )
    return cls


def _shipped_base(cls: type[Strategy]) -> type:
    """What of ours a class is derived from."""
    return next(base for base in cls.__mro__ if base.__module__.startswith("cl_sr.strategies."))


def _check_hooks(cls: type, options: Collection[str], origin: str) -> None:
    """Refuse what looks like a hook and is none, or takes other arguments.

    Raises:
        InputError: with the remedy.
    """
    hooks = [name for name in dir(Strategy) if not name.startswith("_")]
    for name, value in vars(cls).items():
        if name in GONE and name not in options:
            raise InputError(
                f"{origin}: {cls.__name__}.{name} is no hook any more: use {GONE[name]} "
                "(docs/strategies.md)"
            )
        near = difflib.get_close_matches(name, hooks, n=1, cutoff=0.8)
        if callable(value) and name not in hooks and near:
            raise InputError(f"{origin}: {cls.__name__}.{name}: did you mean the hook {near[0]!r}?")
        if name == "traits" and not isinstance(value, Traits | property):
            raise InputError(
                f"{origin}: {cls.__name__}.traits must be Traits(...), or a property that returns "
                "them"
            )
        if name in hooks and inspect.isfunction(value):
            taken = list(inspect.signature(getattr(Strategy, name)).parameters)
            try:
                inspect.signature(value).bind(*taken)
            except TypeError:
                raise InputError(
                    f"{origin}: {cls.__name__}.{name} must take ({', '.join(taken)})"
                ) from None


def _others(cls: type[Strategy]) -> str:
    """The field that takes options which are no fields; empty where there is none."""
    return next((field.name for field in fields(cls) if field.metadata.get("others")), "")


def check_option(cls: type[Strategy], name: str) -> None:
    """Refuse an option that a strategy does not take.

    Raises:
        InputError: with the nearest one.
    """
    known = [item.name for item in fields(cls) if item.init]
    if not known:
        raise InputError(f"strategy {cls.title()} has no options, but was given {name!r}")
    if name not in known and not _others(cls):
        raise InputError(f"strategy {cls.title()} has no option {name!r}: {nearest(name, known)}")


def _with_options(cls: type[Strategy], options: Mapping[str, Any]) -> Strategy:
    from pydantic import TypeAdapter, ValidationError  # not needed to list strategies

    values = dict(options)
    known = {item.name for item in fields(cls) if item.init}
    if others := _others(cls):
        rest = {key: values.pop(key) for key in list(values) if key not in known}
        if not isinstance(given := values.get(others, {}), Mapping):
            raise InputError(
                f"strategy {cls.title()}: {others}={given!r:.60}: give each by its own name"
            )
        values[others] = {**given, **rest}
    for key in values:
        check_option(cls, key)
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        told = first["msg"].removeprefix("Value error, ")
        raise InputError(
            f"strategy {cls.title()}: {where}={first['input']!r:.60}: {told[:1].lower()}{told[1:]}"
        ) from error
