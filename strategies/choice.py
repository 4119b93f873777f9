"""A choice of strategies as a configuration has it: names with options.

In config.yaml it is a list, `- replay: {size: 16}`. On the command line it is text:

    name:option=value,option=value        shipped, or of a package
    ./mine.py:option=value                a file with one strategy
    ./mine.py:Mine:option=value           one of several in a file
    avalanche:ReplayPlugin:mem_size=100   a plugin of Avalanche
    timestep-window:stop=200+replay       several, which act together
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cl_sr.errors import InputError
from cl_sr.schema import absolute

AVALANCHE = "avalanche"  # its plugin is an option like any other


@dataclass(frozen=True)
class Choice:
    """One strategy by its name, or `file.py` or `file.py:Class`; and the options that are given.

    Options from text are text; the strategy's own types come when it is made.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """As on the command line."""
        options = dict(self.options)
        plugin = f":{options.pop('plugin', '')}" if self.name == AVALANCHE else ""
        shown = ",".join(f"{key}={_text(value)}" for key, value in options.items())
        return f"{self.name}{plugin}{f':{shown}' if shown else ''}"

    def plain(self) -> str | dict[str, Any]:
        """As in config.yaml."""
        # Text is parted at a plus, which a path may hold.
        as_text = not self.options and "+" not in self.name
        return self.name if as_text else {self.name: dict(self.options)}


def _text(value: Any) -> str:
    """As YAML would have it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def spell(choices: Sequence[Choice]) -> str:
    """As on the command line, joined by `+`."""
    return "+".join(map(str, choices))


def parse(text: str, names: Collection[str]) -> tuple[Choice, ...]:
    """The choices that a text of the command line means.

    A `+` parts them where one of `names` or a file comes after it; values may hold others.

    Raises:
        InputError: options that are none, or are given twice.
    """
    known = "|".join(map(re.escape, names))
    file = r"(?:[^+,=]*?\.py)"
    parts = re.split(rf"\s*\+\s*(?=(?:{known}|{file})(?:$|[\s:+]))", text)
    return tuple(_parse_one(part.strip()) for part in parts)


def _parse_one(text: str) -> Choice:
    name, options = _parts(text)
    found: dict[str, str] = {}
    if name == AVALANCHE and (plugin := options.partition(":")[0]) and "=" not in plugin:
        found["plugin"], options = plugin, options[len(plugin) + 1 :]
    for part in [part for part in re.split(r",(?=\w+=|$)", options) if part]:
        key, equals, value = part.partition("=")
        if not equals:
            raise InputError(f"strategy {name}: {part!r} is not option=value")
        if key in found:
            raise InputError(f"strategy {name}: {key} is given twice")
        found[key] = value
    return Choice(absolute_name(name), found)


def _parts(text: str) -> tuple[str, str]:
    """The name, or `file.py` or `file.py:Class`; and the options."""
    if (of_file := split_file(text)) is not None:
        file, rest = of_file
        match = re.match(r"([A-Za-z_]\w*)(?:$|:)", rest)
        name = f"{file}:{match[1]}" if match else file
        return name, text[len(name) + 1 :]
    name, _, options = text.partition(":")
    return name, options


def split_file(name: str) -> tuple[str, str] | None:
    """The path of a file, which may hold colons, and what comes after it; None: a plain name."""
    if re.match(r"[\w-]+:\w+=", name):  # an option may end in .py
        return None
    match = re.match(r"(.+?\.py)(?:$|:(.*))", name, re.DOTALL)
    return (match[1], match[2] or "") if match else None


def absolute_name(name: str) -> str:
    """With the path of a file from the root, so that config.yaml repeats the run anywhere."""
    of_file = split_file(name)
    return name if of_file is None else absolute(of_file[0]) + name[len(of_file[0]) :]


def from_plain(value: Any, names: Collection[str]) -> tuple[Choice, ...]:
    """The choices of a configuration: text, or a list of names, texts and names with options.

    Raises:
        InputError: something else.
    """
    items = value if isinstance(value, list | tuple) else [value]
    choices: list[Choice] = []
    for item in items:
        if isinstance(item, Choice):
            choices.append(item)
        elif isinstance(item, str):
            choices += parse(item, names)
        elif isinstance(item, Mapping) and len(item) == 1:
            ((name, options),) = item.items()
            if not isinstance(name, str):
                raise InputError(f"strategy {name}: a name is text")
            if not isinstance(options, Mapping | None):
                raise InputError(f"strategy {name}: options are keys and values")
            given = dict(options or {})
            if not all(isinstance(key, str) for key in given):
                raise InputError(f"strategy {name}: the names of options are text")
            choices.append(Choice(absolute_name(name), given))
        else:
            raise InputError(
                f"strategy: {item!r:.60} is no strategy; write finetune, or a list such as "
                "[{replay: {size: 16}}, wise-ft]"
            )
    if not choices:
        raise InputError("strategy: there is none in the list; finetune is the plain one")
    return tuple(choices)
