"""A Gaussian of a domain's low-resolution images: what they look like, without keeping any.

Probabilistic principal component analysis (Tipping and Bishop, 1999): the covariance is that of the
`k` strongest components, and the same variance in every other direction. It tells which of several
domains an image is of, and images like those of a domain can be drawn from it.

With several scales it is a scale mixture (Wainwright and Simoncelli, NIPS 2000): every image has
the same covariance times a scale of its own. Faces hardly need it, natural images do, among which
flat skies stand beside rich textures: one Gaussian wide enough for those finds flat ones unlikely.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

ROUNDS = 20  # of expectation maximization
LEAST = 1e-6  # variance


@dataclass(frozen=True)
class Gaussian:
    """A distribution over vectors of length D.

    Attributes:
        mean: `(D,)`.
        components: `(k, D)`, orthonormal, the strongest first.
        variances: `(k,)`, along the components.
        rest: `(1,)`, the variance along every other direction.
        scales: `(s,)`, what the covariance is times.
        weights: `(s,)`, how likely each scale is.
    """

    mean: Tensor
    components: Tensor
    variances: Tensor
    rest: Tensor
    scales: Tensor
    weights: Tensor

    @classmethod
    def fit(cls, images: Tensor, components: int = 64, scales: int = 1) -> Gaussian:
        """The maximum-likelihood fit (their Eqs. 7 and 8) to images `(N, ...)`, N at least 2.

        With several scales it is found by expectation maximization, from the quantiles of the
        images' distances from their mean.
        """
        x = images.flatten(1).double()
        one = torch.ones(1, dtype=x.dtype, device=x.device)
        found = cls._with_importances(x, torch.ones_like(x[:, 0]), components, one, one)
        if scales > 1:
            distances = found._distances(x)
            places = (torch.arange(scales, device=x.device, dtype=x.dtype) + 0.5) / scales
            sizes = distances.quantile(places) / x.shape[1]
            weights = torch.full_like(sizes, 1 / scales)
            for _ in range(ROUNDS):
                found = replace(found, scales=sizes.clamp(min=LEAST), weights=weights)
                chances = found._by_scale(x).softmax(1)
                weights = chances.mean(0).clamp(min=1e-6)
                importances = (chances / found.scales).sum(1)
                found = cls._with_importances(x, importances, components, found.scales, weights)
                summed = (chances * found._distances(x)[:, None]).sum(0)
                sizes = summed / chances.sum(0).clamp(min=1e-9) / x.shape[1]
        return cls(*(part.float() for part in asdict(found).values()))

    @classmethod
    def _with_importances(
        cls, x: Tensor, importances: Tensor, components: int, scales: Tensor, weights: Tensor
    ) -> Gaussian:
        """The fit to vectors `(N, D)`, each of which counts as much as its importance."""
        mean = (importances[:, None] * x).sum(0) / importances.sum()
        away = (x - mean) * importances[:, None].sqrt()
        _, values, directions = torch.linalg.svd(away, full_matrices=False)
        spectrum = values.square() / len(x)
        k = max(1, min(components, len(spectrum) - 1))
        others = max(x.shape[1] - k, 1)
        rest = (spectrum[k:].sum() / others).clamp(min=LEAST)
        variances = spectrum[:k].clamp(min=LEAST)
        return cls(mean, directions[:k], variances, rest[None], scales, weights)

    def log_likelihood(self, images: Tensor) -> Tensor:
        """In nats, `(N,)`, of images `(N, ...)`."""
        return self._by_scale(images.flatten(1).to(self.mean.dtype)).logsumexp(1)

    def _distances(self, x: Tensor) -> Tensor:
        """Mahalanobis', squared, of vectors `(N, D)` at scale 1."""
        away = x - self.mean
        along = away @ self.components.T
        beside = (away - along @ self.components).square().sum(1)
        return (along.square() / self.variances).sum(1) + beside / self.rest

    def _by_scale(self, x: Tensor) -> Tensor:
        """The logarithm of each scale's share of the density, `(N, s)`."""
        size = self.mean.numel()
        others = size - len(self.variances)
        volume = self.variances.log().sum() + others * self.rest.log().squeeze()
        distances = self._distances(x)[:, None] / self.scales
        volumes = volume + size * (2 * math.pi * self.scales).log()
        return self.weights.log() - 0.5 * (distances + volumes)

    def draw(self, count: int) -> Tensor:
        """Vectors `(count, D)`, by torch's global generator."""
        along = torch.randn(count, len(self.variances)).to(self.mean) * self.variances.sqrt()
        noise = torch.randn(count, self.mean.numel()).to(self.mean)
        beside = noise - (noise @ self.components.T) @ self.components
        away = along @ self.components + self.rest.sqrt() * beside
        if len(self.scales) > 1:
            chosen = torch.multinomial(self.weights.cpu(), count, replacement=True)
            away = away * self.scales.sqrt()[chosen.to(away.device), None]
        return self.mean + away

    def tensors(self) -> dict[str, Tensor]:
        return asdict(self)
