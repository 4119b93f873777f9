"""Choosing the device and the precision."""

from __future__ import annotations

import torch

from cl_sr.errors import InputError


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
    if not available[name]:
        there = [device for device, here in available.items() if here]
        raise InputError(f"no {name} device on this machine: use --device {' or '.join(there)}")
    return torch.device(name)


def use_bf16(precision: str, device: torch.device) -> bool:
    """`auto`: only where it is faster, on CUDA devices with bfloat16 in hardware."""
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return precision == "bf16"
