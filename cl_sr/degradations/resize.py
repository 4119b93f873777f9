"""Resizing 8-bit images as Pillow does, which the public SR3 code prepares its data with.

The kernel moves PSNR (most of all without antialiasing), so every run records it.
"""

from __future__ import annotations

from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize


def downsample(images: Tensor, scale: int) -> Tensor:
    """Low-resolution images by the antialiased bicubic kernel.

    Args:
        images: uint8 `(B, C, H, W)`; H and W are multiples of `scale`.
        scale: the factor, at least 1.

    Returns:
        uint8 `(B, C, H / scale, W / scale)`.
    """
    return _bicubic(images, images.shape[-2] // scale, images.shape[-1] // scale)


def upsample(images: Tensor, scale: int) -> Tensor:
    """8-bit images, bicubically enlarged to `(B, C, H * scale, W * scale)` uint8."""
    return _bicubic(images, images.shape[-2] * scale, images.shape[-1] * scale)


def _bicubic(images: Tensor, height: int, width: int) -> Tensor:
    out: Tensor = resize(images, [height, width], InterpolationMode.BICUBIC, antialias=True)
    return out
