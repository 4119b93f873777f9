"""Choosing the device and the precision."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch

from cl_sr.errors import InputError, nearest

PRECISIONS = ("auto", "fp32", "bf16")


def choose_device(name: str) -> torch.device:
    """`auto`: CUDA, then Apple's MPS, then the CPU.

    Raises:
        InputError: the device is not there.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, there in available.items() if there)
    if not available.get(name):
        there = [device for device, here in available.items() if here]
        raise InputError(f"no {name} device on this machine: use --device {' or '.join(there)}")
    return torch.device(name)


def use_bf16(precision: str, device: torch.device) -> bool:
    """`auto`: only where it is faster, on CUDA devices with bfloat16 in hardware.

    Raises:
        InputError: an unknown precision.
    """
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision {precision!r}: {nearest(precision, PRECISIONS)}")
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return precision == "bf16"


def autocast(device: torch.device, bf16: bool) -> Callable[[], AbstractContextManager[Any]]:
    """Makes a context for a net, in the precision that it is run in."""
    if not bf16:
        return nullcontext
    return partial(torch.autocast, device.type, dtype=torch.bfloat16)


def memory_format(contiguous: bool) -> torch.memory_format:
    """Convolutions are faster with channels last, on a CPU and on tensor cores."""
    return torch.contiguous_format if contiguous else torch.channels_last
