"""`cl-sr list`: what there is to choose from. Answers without torch or Avalanche."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterable

import click

from cl_sr.errors import InputError, nearest

WHAT = ("streams", "strategies", "presets", "sweeps", "keys")


@click.command()
@click.argument("what", required=False, metavar="[streams|strategies|presets|sweeps|keys]")
@click.argument("name", required=False)
def command(what: str | None, name: str | None) -> None:
    """List streams, strategies (with their options), presets, sweeps, or all configuration keys.

    \b
    cl-sr list
    cl-sr list strategies timestep-window
    """
    if what is not None and what not in WHAT:
        raise InputError(f"nothing called {what!r} to list: {nearest(what, WHAT)}")
    if name is not None and what != "strategies":
        raise InputError("only strategies are shown one by one: cl-sr list strategies NAME")
    if name is not None:
        _strategy(name)
        return
    if what in (None, "streams"):
        _streams()
    if what in (None, "strategies"):
        _strategies()
    if what in (None, "presets"):
        _presets()
    if what in (None, "sweeps"):
        _sweeps()
    if what == "keys":
        _keys()


def _section(title: str, rows: Iterable[tuple[str, str]]) -> None:
    formatter = click.HelpFormatter(max_width=100)
    with formatter.section(title):
        formatter.write_dl(list(rows))
    click.echo(formatter.getvalue())


def _streams() -> None:
    from cl_sr.benchmarks.base import installed_streams, shipped_streams

    rows = [(name, stream.summary) for name, stream in shipped_streams().items()]
    rows += [(name, f"from {stream}") for name, stream in installed_streams().items()]
    _section("Streams (--stream NAME, or a file: ./mine.py)", rows)


def _strategies() -> None:
    from cl_sr.strategies.registry import installed_strategies, shipped_strategies

    rows = []
    for name, cls in shipped_strategies().items():
        options = ",".join(map(_given, dataclasses.fields(cls)))
        rows.append((f"{name}:{options}" if options else name, (cls.__doc__ or "").split("\n")[0]))
    for name, plugin in installed_strategies().items():
        hidden = "; cannot be used: a shipped one has this name" * (name in shipped_strategies())
        rows.append((name, f"from {plugin}{hidden}"))
    _section(
        "Strategies (--strategy NAME:OPTION=VALUE,..., or a file: ./mine.py; several: A+B)", rows
    )


def _strategy(name: str) -> None:
    from cl_sr.strategies.registry import find_class

    cls = find_class(name)
    click.echo(f"{name}: {inspect.cleandoc(cls.__doc__ or '')}\n")
    rows = [
        (_given(field), f"{field.metadata.get('help', '')} ({_kind(field.type)})".strip())
        for field in dataclasses.fields(cls)
    ]
    _section("Options", rows or [("none", "")])


def _given(field: dataclasses.Field[object]) -> str:
    """`size=160`; `size` alone, where it must be given."""
    if field.default is not dataclasses.MISSING:
        return f"{field.name}={field.default}"
    if field.default_factory is not dataclasses.MISSING:
        return f"{field.name}={field.default_factory()}"
    return field.name


def _kind(annotation: object) -> str:
    """A type as its user would say it: `new or past or all`, `int`."""
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    choices = re.findall(r"'([^']*)'", text) if "Literal" in text else []
    return " or ".join(choices) or text


def _default(value: object) -> object:
    """Strategies are shown as on the command line."""
    from cl_sr.strategies import Choice

    if isinstance(value, tuple) and value and all(isinstance(part, Choice) for part in value):
        return "+".join(str(part) for part in value)
    return value


def _presets() -> None:
    from cl_sr.config import presets

    _section("Presets (--preset NAME)", presets().items())


def _sweeps() -> None:
    from cl_sr.config import shipped_sweeps

    _section("Sweeps (cl-sr sweep NAME, or a file: ./mine.yaml)", shipped_sweeps().items())


def _keys() -> None:
    from cl_sr.config import keys

    rows = [(f"{key}={_default(field.default)}", field.description) for key, field in keys()]
    _section("Keys (KEY=VALUE)", rows)
