"""YAML as configurations have it: what is read is data alone, and numbers are numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from cl_sr.errors import InputError


class _NoAliases(yaml.SafeLoader):
    """YAML without aliases, a few bytes of which can stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not taken: write the value out")
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    """Writes what `_NoAliases` reads."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


# As in YAML 1.2: 1e-3 is a number without a point, too. PyYAML's 1.1 takes it for text.
for side in (_NoAliases, _Dumper):
    side.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
        list("-+.0123456789"),
    )


def parse_yaml(text: str) -> Any:
    """Numbers, text, lists and mappings from YAML.

    Raises:
        ValueError: it is none, or nested too deeply.
    """
    try:
        return yaml.load(text, _NoAliases)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def dump_yaml(values: Any) -> str:
    """The inverse of `parse_yaml`; keys stay in their order."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def read_yaml(path: Path) -> dict[str, Any]:
    """A configuration file as a mapping.

    Raises:
        InputError: it cannot be read, or is none.
    """
    try:
        values = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold keys and values, such as seed: 0")
    return values


def arguments(items: Iterable[str]) -> dict[str, Any]:
    """Python arguments from `KEY=VALUE`, values in YAML.

    Raises:
        InputError: an item that is none.
    """
    found = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key.isidentifier() or key == "path":
            raise InputError(f"{item!r} is not KEY=VALUE, such as num_head_channels=16")
        try:
            found[key] = parse_yaml(value)
        except ValueError as error:
            raise InputError(f"{item}: not a YAML value") from error
    return found
