"""Which model a command is given, and what it does not tell of itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cl_sr.errors import InputError
from cl_sr.models.hub import HubPlace, is_on_hub
from cl_sr.models.places import weights_at
from cl_sr.models.training_noise import split_arguments
from cl_sr.yaml_text import arguments

OPTIONS = {"after", "scale", "device", "precision", "batch"}  # of `cl_sr.load`


def check_place(place: Path) -> None:
    """Refuse a place that there is not; the hub is not asked yet.

    Raises:
        InputError: with the remedy.
    """
    if is_on_hub(place):
        HubPlace.parse(str(place))
    elif not weights_at(place).exists():
        raise InputError(f"no folder {place}: `cl-sr runs` lists the runs that there are")


def facts(scale: int | None, overrides: Sequence[str]) -> dict[str, Any]:
    """Arguments of `cl_sr.load`: the scale, and `KEY=VALUE` of the net.

    Raises:
        InputError: one that tells nothing of a net.
    """
    found = arguments(overrides)
    if taken := OPTIONS & found.keys():
        raise InputError(f"{min(taken)}=... tells nothing of a net: see --help")
    split_arguments(found)
    return found if scale is None else {"scale": scale, **found}
