"""A Gaussian of a domain's low-resolution images: what they look like, without keeping any.

Probabilistic principal component analysis (Tipping and Bishop, 1999): the covariance is that of the
`k` strongest components, and the same variance in every other direction. It tells which of several
domains an image is of, and images like those of a domain can be drawn from it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gaussian:
    """A distribution over vectors of length D.

    Attributes:
        mean: `(D,)`.
        components: `(k, D)`, orthonormal, the strongest first.
        variances: `(k,)`, along the components.
        rest: `(1,)`, the variance along every other direction.
    """

    mean: Tensor
    components: Tensor
    variances: Tensor
    rest: Tensor

    @classmethod
    def fit(cls, images: Tensor, components: int = 64) -> Gaussian:
        """The maximum-likelihood fit (their Eqs. 7 and 8) to images `(N, ...)`, N at least 2."""
        x = images.flatten(1).double()
        mean = x.mean(0)
        _, values, directions = torch.linalg.svd(x - mean, full_matrices=False)
        spectrum = values.square() / len(x)
        k = max(1, min(components, len(spectrum) - 1))
        others = max(x.shape[1] - k, 1)
        rest = (spectrum[k:].sum() / others).clamp(min=1e-6)
        parts = (mean, directions[:k], spectrum[:k].clamp(min=1e-6), rest[None])
        return cls(*(part.float() for part in parts))

    def log_likelihood(self, images: Tensor) -> Tensor:
        """In nats, `(N,)`, of images `(N, ...)`."""
        away = images.flatten(1).float() - self.mean
        along = away @ self.components.T
        beside = (away - along @ self.components).square().sum(1)
        distance = (along.square() / self.variances).sum(1) + beside / self.rest
        others = self.mean.numel() - len(self.variances)
        volume = self.variances.log().sum() + others * self.rest.log().squeeze()
        return -0.5 * (distance + volume + self.mean.numel() * math.log(2 * math.pi))

    def draw(self, count: int) -> Tensor:
        """Vectors `(count, D)`, by torch's global generator."""
        along = torch.randn(count, len(self.variances)).to(self.mean) * self.variances.sqrt()
        noise = torch.randn(count, self.mean.numel()).to(self.mean)
        beside = noise - (noise @ self.components.T) @ self.components
        return self.mean + along @ self.components + self.rest.sqrt() * beside

    def tensors(self) -> dict[str, Tensor]:
        return asdict(self)
