"""Degradations by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cl_sr.errors import InputError, nearest

if TYPE_CHECKING:
    from cl_sr.degradations.base import Degradation


def _bicubic(scale: int) -> Degradation:
    from cl_sr.degradations.linear import Bicubic

    return Bicubic(scale)


def _area(scale: int) -> Degradation:
    from cl_sr.degradations.linear import AveragePool

    return AveragePool(scale)


# What makes each of a scale: functions, as names are checked before torch is imported.
DEGRADATIONS: dict[str, Callable[[int], Degradation]] = {"bicubic": _bicubic, "area": _area}


def check_degradation(name: str) -> str:
    """The name, if it is that of a degradation.

    Raises:
        InputError: it is not.
    """
    if name not in DEGRADATIONS:
        raise InputError(f"unknown degradation {name!r}: {nearest(name, DEGRADATIONS)}")
    return name


def build_degradation(name: str, scale: int) -> Degradation:
    """The degradation of a name.

    Raises:
        InputError: there is none of this name.
    """
    return DEGRADATIONS[check_degradation(name)](scale)
