"""Degradations by name."""

from __future__ import annotations

from cl_sr.degradations.base import Degradation
from cl_sr.degradations.linear import AveragePool, Bicubic
from cl_sr.errors import InputError, nearest

DEGRADATIONS: dict[str, type[Degradation]] = {"bicubic": Bicubic, "area": AveragePool}


def build_degradation(name: str, scale: int) -> Degradation:
    """The degradation of a name.

    Raises:
        InputError: there is none of this name.
    """
    if name not in DEGRADATIONS:
        raise InputError(f"unknown degradation {name!r}: {nearest(name, DEGRADATIONS)}")
    return DEGRADATIONS[name](scale)
