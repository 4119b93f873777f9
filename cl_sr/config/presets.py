"""The shipped configurations, by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cl_sr
from cl_sr.errors import InputError, nearest
from cl_sr.yaml_text import read_yaml

PRESETS = Path(cl_sr.__file__).parent / "configs"
DEFAULT_PRESET = "demo"


def presets() -> dict[str, str]:
    """The shipped presets of runs, each with the first line of its comment."""
    return _shipped(sweeps=False)


def shipped_sweeps() -> dict[str, str]:
    """The shipped sweeps, each with the first line of its comment."""
    return _shipped(sweeps=True)


def _shipped(sweeps: bool) -> dict[str, str]:
    found = {}
    for path in sorted(PRESETS.rglob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        if sweeps == bool(re.search("^grid:", text, re.MULTILINE)):
            name = path.relative_to(PRESETS).with_suffix("").as_posix()
            found[name] = text.split("\n", 1)[0].lstrip("# ").strip()
    return found


def read_preset(name: str) -> dict[str, Any]:
    """A shipped preset of a run by name."""
    if name in shipped_sweeps():
        raise InputError(f"preset {name!r} is a sweep of many runs: cl-sr sweep {name}")
    if name not in presets():
        raise InputError(f"unknown preset {name!r}: {nearest(name, presets())}")
    return read_yaml(PRESETS / f"{name}.yaml")
