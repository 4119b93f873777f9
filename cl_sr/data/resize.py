"""How low-resolution images are made, and how the network's condition is made from them.

Bicubic with antialiasing in 8 bits is Pillow's kernel, which the public SR3 code prepares its
data with. The kernel moves PSNR (most of all without antialiasing), so every run records it.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize

Kernel = Literal["bicubic", "area"]


def _bicubic(images: Tensor, size: tuple[int, int]) -> Tensor:
    out: Tensor = resize(images, list(size), InterpolationMode.BICUBIC, antialias=True)
    return out


def downsample(images: Tensor, scale: int, kernel: Kernel = "bicubic") -> Tensor:
    """Low-resolution images of 8-bit images.

    Args:
        images: uint8 `(B, C, H, W)`; H and W are multiples of `scale`.
        scale: the factor, at least 1.
        kernel: `bicubic` (antialiased) or `area` (the average of each block, DDNM's `A`).

    Returns:
        uint8 `(B, C, H / scale, W / scale)`.
    """
    height, width = images.shape[-2] // scale, images.shape[-1] // scale
    if kernel == "area":
        return F.avg_pool2d(images.float(), scale).round().to(images.dtype)
    return _bicubic(images, (height, width))


def upsample(images: Tensor, scale: int) -> Tensor:
    """The condition: 8-bit low-resolution images, bicubically enlarged to `(B, C, H, W)` uint8."""
    return _bicubic(images, (images.shape[-2] * scale, images.shape[-1] * scale))
