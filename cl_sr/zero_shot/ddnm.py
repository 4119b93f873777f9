"""DDNM: zero-shot restoration with an unconditional prior (Wang et al., arXiv 2212.00490)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor

from cl_sr.diffusion import NoiseSchedule
from cl_sr.diffusion.samplers import noise_source
from cl_sr.diffusion.times import travel_times
from cl_sr.zero_shot.operators import Operator


class NoisePrior(Protocol):
    """`prior(noisy, timestep)` answers the noise; `timestep` counts from 0."""

    @property
    def schedule(self) -> NoiseSchedule: ...

    def __call__(self, noisy: Tensor, timestep: Tensor) -> Tensor: ...


@torch.no_grad()
def ddnm(
    prior: NoisePrior,
    lr: Tensor,
    operator: Operator,
    steps: int = 100,
    eta: float = 0.85,
    travel_length: int = 1,
    travel_repeat: int = 1,
    start: Tensor | None = None,
    noises: Tensor | None = None,
    seeds: Sequence[int] | None = None,
    sigma_y: float = 0.0,
    callback: Callable[[dict[str, Any]], None] | None = None,
) -> Tensor:
    """Images that the prior finds likely and whose degraded image is `lr`.

    At each step the clean estimate keeps its null-space part and takes its range-space part from
    `lr` (Saini et al., Eq. 20; DDNM, Eq. 13), then a DDIM step with `eta` follows.

    Args:
        prior: an unconditional prior, see `cl_sr.models.load_prior`.
        lr: low-resolution images `(B, 3, h, w)` in [-1, 1].
        operator: the degradation that made them.
        steps: respaced steps, at most T.
        eta: 0 deterministic, 1 all noise fresh.
        travel_length, travel_repeat: time-travel, see `travel_times`.
        start: the noise to start from, like the result.
        noises: `(steps taken, B, 3, H, W)`; `noises[k]` is used at the k-th step taken.
        seeds: one int an image, so that its result does not depend on its batch.
        sigma_y: standard deviation of the noise in `lr`, in the units of `lr` (DDNM+, Eqs. 17 to
            19 with scaled identities): the correction is damped where the noise would show, and
            the noise that it brings in is taken off what the step adds. (The public code scales
            the step's noise by it instead, which leaves the step short of variance.)
        callback: called after each estimate with `step`, `steps` (all that are taken), `t`, `x0`
            (the estimate before its correction) and `noisy`.

    Returns:
        `(B, 3, H, W)`, about [-1, 1], not clamped; consistent with `lr` where `sigma_y` is 0.

    Raises:
        ValueError: numbers that make no schedule, or too few seeds or noises.
    """
    if not 0 <= eta <= 1 or sigma_y < 0:
        raise ValueError(f"eta={eta} must be in [0, 1], and sigma_y={sigma_y} not negative")
    lr = lr.float()
    like = operator.pinv(lr)
    draw = noise_source(tuple(like.shape), like.device, seeds)
    y = draw() if start is None else start
    times = travel_times(prior.schedule.steps, steps, travel_length, travel_repeat)
    if noises is not None and len(noises) < len(times) - 1:
        raise ValueError(f"{len(noises)} recorded noises for {len(times) - 1} steps")
    x0 = y
    for k, (now, then) in enumerate(pairwise(times)):
        gamma = float(prior.schedule.gammas[then + 1])
        level, sigma = math.sqrt(gamma), math.sqrt(1 - gamma)
        noise = noises[k].to(y) if noises is not None else draw()
        if then > now:  # travel back: noise the last estimate, as it was before its correction
            y = level * x0 + sigma * noise
            continue
        present = float(prior.schedule.gammas[now + 1])
        timestep = torch.full((len(y),), now, device=y.device)
        epsilon = prior(y, timestep)
        x0 = (y - math.sqrt(1 - present) * epsilon) / math.sqrt(present)
        if callback is not None:
            callback({"step": k, "steps": len(times) - 1, "t": now, "x0": x0, "noisy": y})
        damping, fresh = damped(level, sigma, sigma_y)
        fitted = fit(x0, lr, operator, damping)
        y = level * fitted + fresh * (eta * noise + math.sqrt(1 - eta**2) * epsilon)
    return y


def fit(image: Tensor, lr: Tensor, operator: Operator, damping: float = 1.0) -> Tensor:
    """Images with the range-space part of `lr` in the place of their own (DDNM, Eqs. 13 and 17)."""
    return image - damping * operator.pinv(operator.down(image) - lr)


def damped(level: float, sigma: float, sigma_y: float) -> tuple[float, float]:
    """How much of a correction is made, and the noise that the step adds itself (DDNM+, Eq. 19).

    What noise the correction brings in may not exceed what the step may have.

    Args:
        level, sigma: the square roots of gamma and of 1 - gamma that the step leads to.
        sigma_y: standard deviation of the noise in the low-resolution image.
    """
    damping = min(1.0, sigma / (level * sigma_y)) if sigma_y else 1.0
    return damping, math.sqrt(max(0.0, sigma**2 - (level * damping * sigma_y) ** 2))
