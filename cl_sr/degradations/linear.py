"""Linear degradations: those of 8-bit images, and the operators that DDNM inverts, in one object.

`degrade` makes 8-bit images as data sets have them. `down` and `pinv` are the linear map `A` of
DDNM and its pseudo-inverse `A+`, on floats, with `A A+ A = A`.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from cl_sr.degradations.base import Degradation
from cl_sr.degradations.resize import downsample


class AveragePool(Degradation):
    """The mean of each `scale x scale` block; its pseudo-inverse repeats pixels (DDNM, sec. 3.3).

    Sizes that `scale` does not divide are a ValueError. `degrade` is `down`, rounded to 8 bit.
    """

    name = "area"

    def degrade(self, hr: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return F.avg_pool2d(hr.float(), self.scale).round().to(hr.dtype)

    def down(self, image: Tensor) -> Tensor:
        _divisible(image, self.scale)
        # Direction by direction: sums of fewer terms round less.
        rows = image.unflatten(-2, (-1, self.scale)).mean(-2)
        return rows.unflatten(-1, (-1, self.scale)).mean(-1)

    def pinv(self, lr: Tensor) -> Tensor:
        return lr.repeat_interleave(self.scale, -2).repeat_interleave(self.scale, -1)


class Bicubic(Degradation):
    """The antialiased bicubic kernel.

    `degrade` is Pillow's, in 8 bits, as the public SR3 code prepares its data. `down` is that of
    the DDRM and DDNM code: the same kernel in floats, but mirrored at the border, where Pillow
    leaves out what lies outside. It is separable: each direction is a small matrix, whose
    pseudo-inverse is computed in float64. Sizes that `scale` does not divide are a ValueError.

    Args:
        scale: high over low resolution.
        mirrored: at the border, as above; else `down` leaves out what lies outside, as `degrade`.
    """

    name = "bicubic"

    def __init__(self, scale: int, mirrored: bool = True) -> None:
        super().__init__(scale)
        self.mirrored = mirrored

    @property
    def exact(self) -> Bicubic:
        """The one whose `down` is `degrade`, but for rounding."""
        return Bicubic(self.scale, mirrored=False)

    def degrade(self, hr: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return downsample(hr, self.scale)

    def down(self, image: Tensor) -> Tensor:
        _divisible(image, self.scale)
        rows, columns = (
            bicubic_matrix(n // self.scale, self.scale, self.mirrored) for n in image.shape[-2:]
        )
        return _separable(image, rows, columns)

    def pinv(self, lr: Tensor) -> Tensor:
        rows, columns = (bicubic_inverse(n, self.scale, self.mirrored) for n in lr.shape[-2:])
        return _separable(lr, rows, columns)


def _divisible(image: Tensor, scale: int) -> None:
    if image.shape[-2] % scale or image.shape[-1] % scale:
        raise ValueError(f"scale {scale} does not divide {image.shape[-2]}x{image.shape[-1]}")


def _separable(image: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return rows.to(image) @ image @ columns.to(image).T


@lru_cache(maxsize=32)
def bicubic_matrix(low: int, scale: int, mirrored: bool = True) -> Tensor:
    """One direction of `Bicubic`: float64 `(low, low * scale)`, its rows sum to 1.

    Keys' kernel with a = -1/2, stretched by `scale` and centred on each low-resolution pixel; taps
    beyond the border are mirrored (`-1` falls on `0`), or else left out. The public code's is the
    same for even scales, and off by half a pixel for odd ones.
    """
    size = low * scale
    offsets = torch.arange(-2 * scale, 2 * scale + 1, dtype=torch.float64)
    offsets = offsets + (0.5 if scale % 2 == 0 else 0.0)
    x = (offsets / scale).abs()
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    kernel = torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
    kernel = kernel / kernel.sum()
    matrix = torch.zeros(low, size, dtype=torch.float64)
    for row in range(low):
        centre = row * scale + (scale - 1) / 2
        for offset, weight in zip(offsets.tolist(), kernel, strict=True):
            place = math.floor(centre + offset)
            if mirrored or 0 <= place < size:
                column = place % (2 * size)
                matrix[row, column if column < size else 2 * size - 1 - column] += weight
    return matrix / matrix.sum(1, keepdim=True) if not mirrored else matrix


@lru_cache(maxsize=32)
def bicubic_inverse(low: int, scale: int, mirrored: bool = True) -> Tensor:
    """The pseudo-inverse of `bicubic_matrix`: float64 `(low * scale, low)`."""
    return torch.linalg.pinv(bicubic_matrix(low, scale, mirrored))
