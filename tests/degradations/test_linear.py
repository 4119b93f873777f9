import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from cl_sr.zero_shot import AveragePool, Bicubic, Operator, check_operator

KINDS = [AveragePool, Bicubic]
shapes = st.tuples(
    st.sampled_from(KINDS), st.integers(1, 8), st.integers(1, 12), st.integers(1, 12),
    st.integers(1, 4), st.integers(0, 99),
)  # fmt: skip


def images(scale: int, height: int, width: int, channels: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, channels, height * scale, width * scale, generator=generator)


@settings(max_examples=150, deadline=None)
@given(shapes)
def test_down_of_pinv_is_the_low_resolution_image(case: tuple) -> None:
    kind, scale, height, width, channels, seed = case
    operator = kind(scale)
    low = images(1, height, width, channels, seed)
    assert float((operator.down(operator.pinv(low)) - low).abs().max()) <= 1e-5 * float(
        low.abs().max().clamp(min=1)
    )


@settings(max_examples=150, deadline=None)
@given(shapes)
def test_penrose_conditions(case: tuple) -> None:
    """A A+ A = A, A+ A A+ = A+, and A+ A symmetric: the pseudo-inverse, not any inverse."""
    kind, scale, height, width, channels, seed = case
    operator, x = kind(scale), images(scale, height, width, channels, seed).double()
    other = images(scale, height, width, channels, seed + 1).double()
    check_operator(operator, x, 1e-9)

    def project(image: Tensor) -> Tensor:
        return operator.pinv(operator.down(image))

    left, right = (project(x) * other).sum(), (x * project(other)).sum()
    assert float((left - right).abs()) <= 1e-8 * float(x.norm() * other.norm())


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 99))
def test_adjoint_of_average_pool(scale: int, low: int, seed: int) -> None:
    """<A x, y> = <x, At y>, with At = A+ / scale^2 for the mean of blocks."""
    operator = AveragePool(scale)
    x, y = images(scale, low, low, 3, seed).double(), images(1, low, low, 3, seed + 1).double()
    left = (operator.down(x) * y).sum()
    right = (x * operator.pinv(y)).sum() / scale**2
    assert torch.allclose(left, right)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 99))
def test_adjoint_of_bicubic(scale: int, low: int, seed: int) -> None:
    """<A x, y> = <x, At y>, with At by automatic differentiation."""
    operator = Bicubic(scale)
    x = images(scale, low, low, 3, seed).double().requires_grad_()
    y = images(1, low, low, 3, seed + 1).double()
    left = (operator.down(x) * y).sum()
    (adjoint,) = torch.autograd.grad(left, x)
    assert torch.allclose(left, (x * adjoint).sum())


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 5, 8])
def test_bicubic_is_pillows_kernel_away_from_the_border(scale: int) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.random((16 * scale, 12 * scale)).astype(np.float32)
    pillow = Image.fromarray(pixels, mode="F").resize((12, 16), Image.Resampling.BICUBIC)
    ours = Bicubic(scale).down(torch.from_numpy(pixels)[None, None])[0, 0]
    inner = slice(2, -2)
    difference = (ours - torch.from_numpy(np.array(pillow)))[inner, inner]
    assert float(difference.abs().max()) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [16, 32])
def test_large_scales_are_exact_too(kind: type, scale: int) -> None:
    low = images(1, 4, 4, 3, 0).clamp(-1, 1)
    assert float((kind(scale).down(kind(scale).pinv(low)) - low).abs().max()) <= 1e-5


def test_a_flat_image_stays_flat() -> None:
    for kind in KINDS:
        assert torch.allclose(kind(3).down(torch.full((1, 3, 9, 12), 0.3)), torch.tensor(0.3))


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_that_do_not_divide_are_refused(kind: type) -> None:
    with pytest.raises(ValueError, match="scale 4 does not divide 10x8"):
        kind(4).down(torch.zeros(1, 3, 10, 8))
    with pytest.raises(ValueError, match="at least 1"):
        kind(0)


class Grey:
    """DDNM's operator for colourization."""

    def down(self, image: Tensor) -> Tensor:
        return image.mean(dim=1, keepdim=True)

    def pinv(self, lr: Tensor) -> Tensor:
        return lr.expand(-1, 3, -1, -1)


class TransposeForInverse(Grey):
    def pinv(self, lr: Tensor) -> Tensor:
        return super().pinv(lr) / 3


class Clipped(Grey):
    def down(self, image: Tensor) -> Tensor:
        return super().down(image).clamp(-1, 1)


class WrongShape(Grey):
    def pinv(self, lr: Tensor) -> Tensor:
        return lr


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (TransposeForInverse(), "A A. A is not A"),
        (Clipped(), "not linear"),
        (WrongShape(), "pinv gives"),
    ],
)
def test_the_check_tells_what_does_not_fit(operator: Operator, message: str) -> None:
    image = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 3
    check_operator(Grey(), image)
    with pytest.raises(ValueError, match=message):
        check_operator(operator, image)
