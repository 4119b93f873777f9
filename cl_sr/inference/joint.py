"""Two ways to draw a large image: by a model and a sampler, and by a prior and DDNM."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

from torch import Tensor

from cl_sr.diffusion import Sampling
from cl_sr.diffusion.samplers import (
    Kept,
    Step,
    StepNoise,
    derived,
    find_sampler,
    rederives,
    step_options,
)
from cl_sr.diffusion.times import travel_times
from cl_sr.inference.drawing import Drawing
from cl_sr.inference.fields import Block
from cl_sr.models import Model, Prior
from cl_sr.zero_shot import Operator
from cl_sr.zero_shot.ddnm import damped


def draw_sampled(
    drawing: Drawing, model: Model, sampling: Sampling, operator: Operator | None = None
) -> None:
    """Draw as `cl_sr.diffusion.sample` does.

    Args:
        drawing: new.
        model: that answers for its tiles.
        sampling: any but DDNM.
        operator: whose input the image is made to fit in the later half of the steps, as DDNM does
            in all (and ILVR, arXiv 2108.02938, with a filter in the place of a pseudo-inverse).
    """
    gammas = [float(model.schedule.gammas[t]) for t in model.schedule.respace(sampling.steps)]
    options = step_options(sampling.sampler, eta=sampling.eta)
    step = partial(find_sampler(sampling.sampler), **options)
    again = rederives(sampling.sampler, sampling.eta)
    for k in range(len(gammas) - 1):
        late = 2 * (k + 1) > len(gammas) - 1
        _sampler_step(drawing, model, step, k, gammas, operator if late else None, again)


def _sampler_step(
    drawing: Drawing,
    model: Model,
    step: Step,
    k: int,
    gammas: Sequence[float],
    operator: Operator | None,
    rederive: bool,
) -> None:
    gamma = gammas[k]
    drawing.ask(math.sqrt(gamma))

    def diffused(block: Block, y: Tensor) -> Tensor:
        return (y - math.sqrt(1 - gamma) * drawing.noise_in(block)) / math.sqrt(gamma)

    def image(block: Block, y: Tensor) -> Tensor:
        decoded = model.decode(diffused(block, y), drawing.condition_of(block))
        return decoded.clamp(-1, 1) if model.clip else decoded

    def move(block: Block, y: Tensor, noise: StepNoise, kept: Kept) -> tuple[Tensor, Kept]:
        if operator is not None:
            clean = drawing.fitted(block, operator)
        elif model.clip:
            clean = image(block, y)
        else:
            return step(k, gammas, y, diffused(block, y), drawing.noise_in(block), noise, kept)
        x0 = model.encode(clean, drawing.condition_of(block))
        epsilon = derived(y, x0, gamma) if rederive else drawing.noise_in(block)
        return step(k, gammas, y, x0, epsilon, noise, kept)

    if operator is not None:
        drawing.keep_images(image)
    drawing.advance(move)


def draw_ddnm(
    drawing: Drawing, prior: Prior, operator: Operator, sampling: Sampling, sigma_y: float = 0.0
) -> None:
    """Draw as `cl_sr.zero_shot.ddnm` does.

    Args:
        drawing: new; its tiles are answered for by `prior(noisy, timestep)`.
        prior: an unconditional model.
        operator: the degradation that made the input.
        sampling: DDNM.
        sigma_y: standard deviation of the noise in the input, of [-1, 1].
    """
    total = prior.schedule.steps
    steps = total if sampling.steps is None else sampling.steps
    times = travel_times(total, steps, sampling.travel_length, sampling.travel_repeat)
    for now, then in pairwise(times):
        _ddnm_step(drawing, prior, operator, now, then, sampling.eta, sigma_y)


def _ddnm_step(
    drawing: Drawing,
    prior: Prior,
    operator: Operator,
    now: int,
    then: int,
    eta: float,
    sigma_y: float,
) -> None:
    present, gamma = (float(prior.schedule.gammas[t + 1]) for t in (now, then))
    level, sigma = math.sqrt(gamma), math.sqrt(1 - gamma)
    damping, fresh = damped(level, sigma, sigma_y)

    def image(block: Block, y: Tensor) -> Tensor:
        return (y - math.sqrt(1 - present) * drawing.noise_in(block)) / math.sqrt(present)

    def back(block: Block, y: Tensor, noise: StepNoise, kept: Kept) -> tuple[Tensor, Kept]:
        return level * block.of(drawing.images) + sigma * noise(), ()

    def on(block: Block, y: Tensor, noise: StepNoise, kept: Kept) -> tuple[Tensor, Kept]:
        new, fitted = noise(), drawing.fitted(block, operator, damping)
        same = math.sqrt(1 - eta**2) * drawing.noise_in(block)
        return level * fitted + fresh * (eta * new + same), ()

    if then > now:  # noise the last estimate, as it was before it was made to fit
        drawing.advance(back)
        return
    drawing.ask(now)
    drawing.keep_images(image)
    drawing.advance(on)
