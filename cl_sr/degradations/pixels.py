"""Between 8-bit images, as files and data sets have them, and floats in [-1, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

STEPS = 127.5  # of an 8-bit value in 1.0 of a float's


def to_floats(pixels: Tensor) -> Tensor:
    """uint8 in 0..255 to float32 in [-1, 1]."""
    return pixels.float() / STEPS - 1


def to_bytes(images: Tensor) -> Tensor:
    """Floats about [-1, 1] to uint8: rounded, and clamped to 0..255."""
    return ((images + 1) * STEPS).round().clamp(0, 255).to(torch.uint8)
