"""The noise schedule: gamma_t for t = 0..T."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cl_sr.diffusion.times import respaced


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """The trained noise schedule of a diffusion model.

    Attributes:
        gammas: float64 `(T + 1,)`, `gammas[0] == 1`, strictly decreasing, positive.

    Example:
        >>> NoiseSchedule.linear(steps=2000).steps
        2000
    """

    gammas: Tensor

    def __post_init__(self) -> None:
        gammas = self.gammas
        if gammas.dtype != torch.float64 or gammas.ndim != 1 or len(gammas) < 2:
            raise ValueError("gammas must be a float64 vector of T + 1 >= 2 values")
        if gammas[0] != 1 or not (gammas > 0).all() or not (gammas.diff() < 0).all():
            raise ValueError("gammas must start at 1 and decrease strictly, staying above 0")

    @classmethod
    def from_betas(cls, betas: Tensor) -> NoiseSchedule:
        """From `beta_1..beta_T`, each in (0, 1): `gamma_t = prod(1 - beta)`."""
        alphas = 1.0 - betas.to(torch.float64)
        return cls(torch.cat([torch.ones(1, dtype=torch.float64), alphas.cumprod(0)]))

    @classmethod
    def linear(cls, steps: int = 2000, start: float = 1e-6, end: float = 1e-2) -> NoiseSchedule:
        """Betas spaced evenly from `start` to `end`; the defaults are SR3's for 16 to 128."""
        return cls.from_betas(torch.linspace(start, end, steps, dtype=torch.float64))

    @classmethod
    def scaled_linear(cls, steps: int, start: float, end: float) -> NoiseSchedule:
        """Square roots of betas spaced evenly (diffusers' `scaled_linear`, DDIM's `quad`)."""
        roots = torch.linspace(math.sqrt(start), math.sqrt(end), steps, dtype=torch.float64)
        return cls.from_betas(roots.square())

    @classmethod
    def cosine(cls, steps: int = 2000, offset: float = 8e-3) -> NoiseSchedule:
        """Nichol and Dhariwal, arXiv 2102.09672, Eq. 17, with betas clipped at 0.999."""
        t = torch.arange(steps + 1, dtype=torch.float64) / steps
        f = torch.cos((t + offset) / (1 + offset) * math.pi / 2) ** 2
        return cls.from_betas((1 - f[1:] / f[:-1]).clamp(max=0.999))

    @property
    def steps(self) -> int:
        """T, the number of trained time-steps."""
        return len(self.gammas) - 1

    def nearest(self, level: Tensor) -> Tensor:
        """The time-steps t, from 1 to T, whose `sqrt(gamma_t)` levels `(B,)` are nearest to."""
        levels = self.gammas.sqrt()
        # Borders between two time-steps, falling; there is none above t = 1.
        borders = (levels[1:-1] + levels[2:]) / 2
        ascending = -borders.to(level.device)
        return 1 + torch.searchsorted(ascending, -level.double(), right=False)

    def respace(self, steps: int | None) -> list[int]:
        """`steps + 1` trained time-steps from T down to 0, evenly spaced; None: all of them.

        Subsets of the *trained* gammas keep the pure noise at the start. Rebuilding the betas
        with fewer steps between the same end points does not: `sqrt(gamma_T)` would be .285 at
        500 steps instead of .0066, and the samples are ruined.

        Raises:
            ValueError: `steps` is not in 1..T.
        """
        return respaced(self.steps, steps)
