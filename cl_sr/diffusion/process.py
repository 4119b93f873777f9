"""The forward process: how images are noised for training."""

from __future__ import annotations

import torch
from torch import Tensor

from cl_sr.diffusion.schedule import NoiseSchedule


def per_image(value: Tensor, like: Tensor) -> Tensor:
    """`(B,)` or `(B, 1)` as `(B, 1, 1, 1)`, to broadcast over the images `like`."""
    return value.reshape(-1, *[1] * (like.ndim - 1)).to(like.dtype)


def q_sample(y0: Tensor, level: Tensor, noise: Tensor) -> Tensor:
    """The noisy image `level * y0 + sqrt(1 - level^2) * noise` (SR3, Eq. 4).

    The noise factor is `sqrt(1 - gamma)`; the `1 - gamma` in Eq. 10 of Saini et al. is a slip.

    Args:
        y0: what is diffused, `(B, C, H, W)`.
        level: `sqrt(gamma)`, `(B,)` in [0, 1].
        noise: standard normal, like `y0`.
    """
    level = per_image(level, y0)
    return level * y0 + (1 - level.square()).clamp(min=0).sqrt() * noise


def draw_levels(
    schedule: NoiseSchedule, batch: int, start: int = 0, stop: int | None = None
) -> Tensor:
    """One noise level for each image: t uniform in the window, then uniform between two levels.

    SR3, section 2.4: t in `{start + 1, ..., stop}`, then `level = sqrt(gamma)` uniform in
    `[sqrt(gamma_t), sqrt(gamma_{t-1})]`. (The public SR3 code draws one t a batch.)

    Args:
        schedule: with T time-steps.
        batch: the number of images.
        start, stop: the time-step window, `0 <= start < stop <= T`; 0 is the low-noise end.

    Returns:
        float32 `(batch,)` on the CPU, from torch's global generator.
    """
    stop = schedule.steps if stop is None else stop
    if not 0 <= start < stop <= schedule.steps:
        raise ValueError(f"window {start}-{stop} is not within 0..{schedule.steps}")
    t = torch.randint(start + 1, stop + 1, (batch,))
    levels = schedule.gammas.sqrt()
    low, high = levels[t], levels[t - 1]
    return (low + (high - low) * torch.rand(batch, dtype=torch.float64)).float()
