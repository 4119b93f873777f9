"""Linear degradations with exact pseudo-inverses.

An operator is any object with `down` (`A`) and `pinv` (`A+`), linear and batched. To add one,
write the two and let `check_operator` tell whether they fit:

    class Grey:
        def down(self, image):
            return image.mean(dim=1, keepdim=True)

        def pinv(self, lr):
            return lr.expand(-1, 3, -1, -1)

    check_operator(Grey(), torch.randn(2, 3, 16, 16))
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor


class Operator(Protocol):
    """`A` and `A+` with `A A+ A = A`."""

    def down(self, image: Tensor) -> Tensor:
        """`A`: the degraded image of images `(B, C, H, W)`."""
        ...

    def pinv(self, lr: Tensor) -> Tensor:
        """`A+`: an image whose degraded image is `lr`."""
        ...


class AveragePool:
    """The mean of each `scale x scale` block; its pseudo-inverse repeats pixels (DDNM, sec. 3.3).

    Args:
        scale: the factor, at least 1; sizes that it does not divide are a ValueError.
    """

    def __init__(self, scale: int) -> None:
        self.scale = _positive(scale)

    def down(self, image: Tensor) -> Tensor:
        _divisible(image, self.scale)
        # Direction by direction: sums of fewer terms round less.
        rows = image.unflatten(-2, (-1, self.scale)).mean(-2)
        return rows.unflatten(-1, (-1, self.scale)).mean(-1)

    def pinv(self, lr: Tensor) -> Tensor:
        return lr.repeat_interleave(self.scale, -2).repeat_interleave(self.scale, -1)


class Bicubic:
    """The antialiased bicubic kernel and mirrored boundary of the DDRM and DDNM code.

    Separable: each direction is a small matrix, whose pseudo-inverse is computed in float64.

    Args:
        scale: the factor, at least 1; sizes that it does not divide are a ValueError.
    """

    def __init__(self, scale: int) -> None:
        self.scale = _positive(scale)

    def down(self, image: Tensor) -> Tensor:
        _divisible(image, self.scale)
        rows, columns = (bicubic_matrix(n // self.scale, self.scale) for n in image.shape[-2:])
        return _separable(image, rows, columns)

    def pinv(self, lr: Tensor) -> Tensor:
        rows, columns = (bicubic_inverse(n, self.scale) for n in lr.shape[-2:])
        return _separable(lr, rows, columns)


def _positive(scale: int) -> int:
    if scale < 1:
        raise ValueError(f"the scale must be at least 1, not {scale}")
    return scale


def _divisible(image: Tensor, scale: int) -> None:
    if image.shape[-2] % scale or image.shape[-1] % scale:
        raise ValueError(f"scale {scale} does not divide {image.shape[-2]}x{image.shape[-1]}")


def _separable(image: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return rows.to(image) @ image @ columns.to(image).T


@lru_cache(maxsize=32)
def bicubic_matrix(low: int, scale: int) -> Tensor:
    """One direction of `Bicubic`: float64 `(low, low * scale)`, its rows sum to 1.

    Keys' kernel with a = -1/2, stretched by `scale` and centred on each low-resolution pixel; taps
    beyond the border are mirrored (`-1` falls on `0`). The public code's is the same for even
    scales, and off by half a pixel for odd ones.
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
            column = int(centre + offset) % (2 * size)
            matrix[row, column if column < size else 2 * size - 1 - column] += weight
    return matrix


@lru_cache(maxsize=32)
def bicubic_inverse(low: int, scale: int) -> Tensor:
    """The pseudo-inverse of `bicubic_matrix`: float64 `(low * scale, low)`."""
    return torch.linalg.pinv(bicubic_matrix(low, scale))


def check_operator(operator: Operator, image: Tensor, tolerance: float = 1e-4) -> None:
    """Raise where an operator's `down` and `pinv` do not fit on images like `image`.

    Args:
        operator: with `down` and `pinv`.
        image: `(B, C, H, W)`, random ones serve well.
        tolerance: largest difference, relative to the largest value.

    Raises:
        ValueError: `down` is not linear, or `A A+ A = A` or `A+ A A+ = A+` does not hold.
    """
    low = operator.down(image)
    back = operator.pinv(low)
    if back.shape != image.shape:
        raise ValueError(f"pinv gives {tuple(back.shape)} for an image {tuple(image.shape)}")
    other = image.flip(-1)
    mixed = operator.down(2 * image + other)
    _same(mixed, 2 * low + operator.down(other), tolerance, "down is not linear")
    _same(operator.down(back), low, tolerance, "A A+ A is not A: down(pinv(down(x))) != down(x)")
    again = operator.pinv(operator.down(back))
    _same(again, back, tolerance, "A+ A A+ is not A+: pinv(down(pinv(y))) != pinv(y)")


def _same(a: Tensor, b: Tensor, tolerance: float, message: str) -> None:
    difference = float((a - b).abs().max() / b.abs().max().clamp(min=1e-12))
    if not difference <= tolerance:
        raise ValueError(f"{message} (relative difference {difference:.1e})")
