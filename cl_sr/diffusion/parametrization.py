"""What the net predicts, and what is diffused: the two options around SR3's objective."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from cl_sr.diffusion.process import per_image

Prediction = Literal["epsilon", "v", "x0"]
Target = Literal["image", "residual"]


@dataclass(frozen=True)
class Parametrization:
    """How a network's input and output relate to images.

    Attributes:
        prediction: the noise (`epsilon`: SR3, Eq. 6), the velocity (`v`: Salimans and Ho,
            arXiv 2202.00512) or the clean image (`x0`).
        target: diffuse the high-resolution `image`, or its `residual` over the upsampled
            condition (SRDiff, arXiv 2104.14951), which few training steps learn far better.
        residual_scale: factor that brings the residual to about unit variance.
    """

    prediction: Prediction = "epsilon"
    target: Target = "image"
    residual_scale: float = 5.0

    def __post_init__(self) -> None:
        if self.prediction not in get_args(Prediction) or self.target not in get_args(Target):
            raise ValueError(f"no parametrization: {self.prediction!r}, {self.target!r}")
        if not 0 < self.residual_scale < math.inf:
            raise ValueError(f"residual_scale={self.residual_scale!r} must be positive")

    def encode(self, image: Tensor, condition: Tensor | None) -> Tensor:
        """What is diffused, from an image in [-1, 1] and its condition."""
        if self.target == "image":
            return image
        return (image - _required(condition)) * self.residual_scale

    def decode(self, diffused: Tensor, condition: Tensor | None) -> Tensor:
        """The image in [-1, 1] from what is diffused: the inverse of `encode`."""
        if self.target == "image":
            return diffused
        return _required(condition) + diffused / self.residual_scale

    def output(self, diffused: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """What a perfect net would answer."""
        level = per_image(level, diffused)
        if self.prediction == "epsilon":
            return noise
        if self.prediction == "x0":
            return diffused
        return level * noise - (1 - level.square()).clamp(min=0).sqrt() * diffused

    def noise(
        self, output: Tensor, noisy: Tensor, level: Tensor, sigma: Tensor | None = None
    ) -> Tensor:
        """The noise that the net's output stands for.

        `sigma = sqrt(1 - level^2)` is more exact where it comes from float64 gammas: near
        `level = 1` a float32 level has lost most of it.
        """
        if self.prediction == "epsilon":
            return output
        level = per_image(level, noisy)
        if sigma is None:
            sigma = (1 - level.square()).clamp(min=1e-12).sqrt()
        sigma = per_image(sigma, noisy)
        if self.prediction == "x0":
            return (noisy - level * output) / sigma
        return level * output + sigma * noisy


def _required(condition: Tensor | None) -> Tensor:
    if condition is None:
        raise ValueError("a residual target needs the low-resolution condition")
    return condition


class Denoiser:
    """A network as `sample` wants it: `(noisy, condition, level) -> noise`, and what is diffused.

    Args:
        net: `net(noisy, condition, level)`, answering as `parametrization` says.
        parametrization: what the net predicts and what is diffused.
        autocast: makes a context for the network alone (mixed precision); the mathematics
            around it stays in float32.
    """

    def __init__(
        self,
        net: Callable[[Tensor, Tensor | None, Tensor], Tensor],
        parametrization: Parametrization,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.net = net
        self.parametrization = parametrization
        self.autocast = autocast

    def __call__(self, noisy: Tensor, condition: Tensor | None, level: Tensor) -> Tensor:
        with self.autocast():
            output = self.net(noisy, condition, level)
        if output.shape != noisy.shape:
            raise ValueError(
                f"a denoiser must answer {tuple(noisy.shape)}, not {tuple(output.shape)}"
            )
        output = output.to(torch.promote_types(output.dtype, torch.float32))
        return self.parametrization.noise(output, noisy, level)

    def encode(self, image: Tensor, condition: Tensor | None) -> Tensor:
        return self.parametrization.encode(image, condition)

    def decode(self, diffused: Tensor, condition: Tensor | None) -> Tensor:
        return self.parametrization.decode(diffused, condition)
