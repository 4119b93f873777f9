"""The folder of a sweep: `sweep.json`, beside the folders of its members."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cl_sr.errors import InputError
from cl_sr.files import check_writable, locked, read_json, write_text
from cl_sr.sweeps.grid import Sweep

FILE = "sweep.json"


def is_sweep(path: Path) -> bool:
    return (path / FILE).is_file()


def read_description(path: Path) -> dict[str, Any]:
    """What `Sweep.description` wrote.

    Raises:
        InputError: it is damaged.
    """
    found = read_json(path / FILE)
    members, keys = found.get("members"), found.get("keys")
    if (
        not isinstance(keys, list)
        or not isinstance(members, dict)
        or not all(isinstance(varied, dict) for varied in members.values())
        or not isinstance(found.get("baseline"), dict)
    ):
        raise InputError(f"{path / FILE} is damaged: start the sweep again, its runs are kept")
    return found


def check_folder(sweep: Sweep, out: Path) -> None:
    """Refuse a folder with something else in it.

    Raises:
        InputError: with the remedy.
    """
    if is_sweep(out):
        there = read_json(out / FILE)
        if there.get("name") != sweep.name:
            raise InputError(f"{out} holds the sweep {there.get('name')!r}: choose another --out")
        fixed = there.get("fixed")
        for key, value in sweep.fixed().items():
            if isinstance(fixed, dict) and fixed.get(key, value) != value:
                raise InputError(
                    f"{out} holds a sweep of another {key} ({fixed[key]}, not {value}): choose "
                    "another --out"
                )
    elif out.is_dir() and any(path.name != ".lock" for path in out.iterdir()):
        raise InputError(f"{out} is not empty and holds no sweep: choose another --out")
    elif out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: choose another --out")
    check_writable(out)


@contextmanager
def taken(sweep: Sweep, out: Path, command: str = "") -> Iterator[None]:
    """Keep other processes from the folder, and write down what the sweep is.

    Members of earlier calls that have been begun stay: `seed=0` first, and all seeds later. Others
    may have been taken out of the sweep's file.

    Args:
        sweep: the sweep.
        out: its folder.
        command: what was typed.

    Raises:
        InputError: another process is at work in it.
    """
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        description = sweep.description() | {"commands": [command]}
        if is_sweep(out):
            before = read_description(out)
            begun = {k: v for k, v in before["members"].items() if (out / k).is_dir()}
            named = description["members"]
            description["members"] = named | begun | named  # in the file's order
            commands = [*before.get("commands", []), command]
            description["commands"] = list(dict.fromkeys(commands))
        write_text(out / FILE, json.dumps(description, indent=2) + "\n")
        yield
