"""Between 8-bit images, as files and data sets have them, and floats in [-1, 1]."""

from __future__ import annotations

import torch
from torch import Tensor


def to_floats(pixels: Tensor) -> Tensor:
    """uint8 in 0..255 to float32 in [-1, 1]."""
    return pixels.float() / 127.5 - 1


def to_bytes(images: Tensor) -> Tensor:
    """Floats about [-1, 1] to uint8: rounded, and clamped to 0..255."""
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
