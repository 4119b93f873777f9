"""What DDNM asks of a degradation: that it is linear, with an exact pseudo-inverse.

`cl_sr.degradations` has the shipped ones. An operator is any object with `down` (`A`) and `pinv`
(`A+`), linear and batched. To add one, write the two and let `check_operator` tell whether they
fit:

    class Grey:
        def down(self, image):
            return image.mean(dim=1, keepdim=True)

        def pinv(self, lr):
            return lr.expand(-1, 3, -1, -1)

    check_operator(Grey(), torch.randn(2, 3, 16, 16))
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Operator(Protocol):
    """`A` and `A+` with `A A+ A = A`."""

    def down(self, image: Tensor) -> Tensor:
        """`A`: the degraded image of images `(B, C, H, W)`."""
        ...

    def pinv(self, lr: Tensor) -> Tensor:
        """`A+`: an image whose degraded image is `lr`."""
        ...


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
