"""Samplers: from noise to an image over a respaced trained schedule.

Each sampler is a plain function that takes one step, pixel by pixel: of what is diffused, the
estimates there, and what it kept of the steps before. So an image may be drawn whole (`sample`), or
in parts that do not fit into memory together (`cl_sr.inference.joint`). To add one, write such a
function and enter it in `SAMPLERS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from cl_sr.diffusion.schedule import NoiseSchedule

Variance = Literal["posterior", "beta"]
# predict(k, y): the k-th step's clean estimate and noise estimate, both in the diffused space.
Predict = Callable[[int, Tensor], tuple[Tensor, Tensor]]
# noise(): standard normal noise for this step, if it is asked for.
StepNoise = Callable[[], Tensor]
Kept = tuple[Tensor, ...]
# step(k, gammas, y, x0, epsilon, noise, kept): what is diffused after the k-th step, and what the
# next one is to be given as `kept`. `gammas` go from gamma_T up to 1: one more than steps.
Step = Callable[..., tuple[Tensor, Kept]]


def ancestral(
    k: int,
    gammas: Sequence[float],
    y: Tensor,
    x0: Tensor,
    epsilon: Tensor,
    noise: StepNoise,
    kept: Kept,
    variance: Variance = "posterior",
) -> tuple[Tensor, Kept]:
    """Draw from `q(y_s | y_t, y0_hat)` (DDPM, arXiv 2006.11239, Eqs. 6 and 7).

    `variance="posterior"` is Saini et al. Eq. 8 and the public SR3 code; `"beta"` is their
    Eq. 15, `1 - alpha_t`. The last step adds no noise.
    """
    now, then = gammas[k : k + 2]
    alpha = now / then
    y = (
        math.sqrt(then) * (1 - alpha) / (1 - now) * x0
        + math.sqrt(alpha) * (1 - then) / (1 - now) * y
    )
    if k < len(gammas) - 2:
        spread = 1 - alpha if variance == "beta" else (1 - alpha) * (1 - then) / (1 - now)
        y = y + math.sqrt(spread) * noise()
    return y, ()


def ddim(
    k: int,
    gammas: Sequence[float],
    y: Tensor,
    x0: Tensor,
    epsilon: Tensor,
    noise: StepNoise,
    kept: Kept,
    eta: float = 0.0,
) -> tuple[Tensor, Kept]:
    """DDIM (arXiv 2010.02502, Eqs. 12 and 16); `eta=0` is deterministic, `eta=1` ancestral.

    The latter where both estimates agree: `y = sqrt(gamma) x0 + sqrt(1 - gamma) epsilon`.
    """
    now, then = gammas[k : k + 2]
    spread = eta * math.sqrt((1 - then) / (1 - now) * (1 - now / then))
    y = math.sqrt(then) * x0 + math.sqrt(max(1 - then - spread**2, 0.0)) * epsilon
    if spread > 0:
        y = y + spread * noise()
    return y, ()


def dpmpp_2m(
    k: int,
    gammas: Sequence[float],
    y: Tensor,
    x0: Tensor,
    epsilon: Tensor,
    noise: StepNoise,
    kept: Kept,
) -> tuple[Tensor, Kept]:
    """DPM-Solver++(2M): second order, one evaluation a step (Lu et al., arXiv 2211.01095, Alg. 2).

    Data prediction. The first step, and the last one where it ends at gamma = 1, are of first
    order: there is no estimate before the one, and the half log-SNR of the other is infinite.
    """
    now, then = gammas[k : k + 2]
    if then == 1:
        return x0, ()
    h = _half_log_snr(then) - _half_log_snr(now)
    estimate = x0
    if kept:
        ratio = (_half_log_snr(now) - _half_log_snr(gammas[k - 1])) / h
        estimate = x0 + (x0 - kept[0]) / (2 * ratio)
    y = _ratio(now, then) * y - math.sqrt(then) * math.expm1(-h) * estimate
    return y, (x0,)


def unipc(
    k: int,
    gammas: Sequence[float],
    y: Tensor,
    x0: Tensor,
    epsilon: Tensor,
    noise: StepNoise,
    kept: Kept,
) -> tuple[Tensor, Kept]:
    """UniPC of order 2 in data prediction, B(h) = e^h - 1 (Zhao et al., arXiv 2302.04867).

    Each evaluation serves twice: it corrects the step that led to it, to third order, and
    predicts the next one. One evaluation a step.
    """
    now, then = gammas[k : k + 2]
    start, before = kept[:1], kept[1:]  # of the step that led here; estimates, the latest last
    states = [
        (_half_log_snr(gammas[k - back]), estimate)
        for back, estimate in zip(range(len(before), 0, -1), before, strict=True)
    ]
    if start:
        y = _unipc_step(start[0], gammas[k - 1], now, states, corrected_by=x0)
    states = [*states[-1:], (_half_log_snr(now), x0)]
    if then == 1:
        return x0, ()
    return _unipc_step(y, now, then, states), (y, *(estimate for _, estimate in states))


def _unipc_step(
    y: Tensor,
    now: float,
    then: float,
    states: Sequence[tuple[float, Tensor]],
    corrected_by: Tensor | None = None,
) -> Tensor:
    """From gamma `now` to `then`, by the estimates of earlier steps and maybe of `then` itself."""
    here, x0 = states[-1]
    h = _half_log_snr(then) - here
    phi = math.expm1(-h)
    # Finite differences of the estimates, and where they were taken in units of h.
    places = [(s - here) / h for s, _ in states[:-1]]
    slopes = [(x - x0) / r for (_, x), r in zip(states[:-1], places, strict=True)]
    if corrected_by is None:
        weights = [0.5] * len(slopes)
    else:
        places.append(1.0)
        slopes.append(corrected_by - x0)
        weights = _unipc_weights(places, -h)
    change = sum((w * slope for w, slope in zip(weights, slopes, strict=True)), x0)
    return _ratio(now, then) * y - math.sqrt(then) * phi * change


def _unipc_weights(places: Sequence[float], h: float) -> list[float]:
    """The weights that make differences at `places` exact to their number (UniPC, Eq. 5)."""
    if len(places) == 1:
        return [0.5]
    scale = math.expm1(h)
    phi_2 = scale / h - 1
    phi_3 = phi_2 / h - 0.5
    right = phi_2 / scale, 2 * phi_3 / scale
    first, second = places
    w = (right[1] - first * right[0]) / (second - first)
    return [right[0] - w, w]


def _half_log_snr(gamma: float) -> float:
    return 0.5 * math.log(gamma / (1 - gamma))


def _ratio(now: float, then: float) -> float:
    """By how much the noise shrinks."""
    return math.sqrt((1 - then) / (1 - now))


SAMPLERS: dict[str, Step] = {
    "ancestral": ancestral,
    "ddim": ddim,
    "dpmpp-2m": dpmpp_2m,
    "unipc": unipc,
}


def find_sampler(name: str) -> Step:
    """A step by its name.

    Raises:
        ValueError: there is none.
    """
    if name not in SAMPLERS:
        raise ValueError(f"unknown sampler {name!r}: choose from {', '.join(SAMPLERS)}")
    return SAMPLERS[name]


def walk(
    step: Step,
    predict: Predict,
    y: Tensor,
    gammas: Sequence[float],
    noise: Callable[[int], Tensor],
    **options: Any,
) -> Tensor:
    """All steps of a sampler, from noise to what is diffused without any.

    Args:
        step: one of `SAMPLERS`.
        predict: the estimates of the k-th step.
        y: the noise to start from.
        gammas: from gamma_T up to 1, one more than there are steps.
        noise: standard normal noise for the k-th step, if it is asked for.
        options: of the step.
    """
    kept: Kept = ()
    for k in range(len(gammas) - 1):
        x0, epsilon = predict(k, y)
        y, kept = step(k, gammas, y, x0, epsilon, partial(noise, k), kept, **options)
    return y


def step_options(
    sampler: str, variance: Variance = "posterior", eta: float = 0.0
) -> dict[str, Any]:
    """Of these options those that a sampler has."""
    options: dict[str, dict[str, Any]] = {"ancestral": {"variance": variance}, "ddim": {"eta": eta}}
    return options.get(sampler, {})


def rederives(sampler: str, eta: float) -> bool:
    """Whether the noise is derived again from a clean estimate that was changed.

    Where eta is above 0, so that `eta=1` is `ancestral`; docs/fidelity.md has the figures.
    """
    return sampler == "ddim" and eta > 0


def derived(y: Tensor, x0: Tensor, gamma: float) -> Tensor:
    """The noise in what is diffused, where the clean estimate is right."""
    return (y - math.sqrt(gamma) * x0) / math.sqrt(1 - gamma)


class Sampled(Protocol):
    """What images are drawn by: a `Denoiser`, a `cl_sr.models.Model`, or anything like them."""

    def __call__(self, noisy: Tensor, condition: Any, level: Tensor, /) -> Tensor:
        """The noise in `noisy`, `(B, C, ...)`, at `level` `(B,)`."""
        ...

    def encode(self, images: Tensor, condition: Any, /) -> Tensor:
        """What is diffused, from images."""
        ...

    def decode(self, diffused: Tensor, condition: Any, /) -> Tensor:
        """The images, from what is diffused."""
        ...


@torch.no_grad()
def sample(
    denoiser: Sampled,
    condition: Tensor | None,
    schedule: NoiseSchedule | None = None,
    sampler: str = "ancestral",
    steps: int | None = None,
    variance: Variance = "posterior",
    clip: bool | None = None,
    start: Tensor | None = None,
    noises: Tensor | None = None,
    seeds: Sequence[int] | None = None,
    callback: Callable[[dict[str, Any]], None] | None = None,
    *,
    eta: float = 0.0,
    rederive: bool | None = None,
    shape: Sequence[int] | None = None,
) -> Tensor:
    """Draw high-resolution images.

    Args:
        denoiser: a `cl_sr.models.Model`, or a `Denoiser`, which makes one of a net: a net alone
            does not tell whether its answer is noise, and of what.
        condition: the upsampled low-resolution images, `(B, 3, H, W)` in [-1, 1]; None for an
            unconditional denoiser (then give `start` or `shape`).
        schedule: that it was trained with; None: the model's.
        sampler: a name in `SAMPLERS`: `ancestral`, `ddim`, `dpmpp-2m` or `unipc`.
        steps: respaced steps, at most T; None: all T.
        variance: of `ancestral`: `posterior` or `beta`.
        clip: clamp each estimate of the clean image to [-1, 1]; None: as the model says, else yes.
        start: the noise to start from, `(B, C, H, W)`.
        noises: `(steps, B, 3, H, W)`: replay a recorded trajectory; `noises[k]` is used at the
            k-th step taken.
        seeds: one int an image, so that its result does not depend on its batch. Noise from
            seeds is drawn on the CPU: every device gets the same.
        callback: called after each estimate with `step`, `t`, `x0` (the image) and `noisy`.
        eta: of `ddim`: 0 deterministic, 1 `ancestral`.
        rederive: of `ddim`: whether the noise is derived again from a clean estimate that was
            clamped, or is the net's; None: where eta is above 0 (docs/fidelity.md has the figures).
            With eta=1 it makes `ddim` the same as `ancestral`.
        shape: of what is diffused; None: as the model says, else that of `condition`.

    Returns:
        Images `(B, 3, H, W)`, in [-1, 1] where `clip` is set.

    Raises:
        TypeError: a net, which is no denoiser.
        ValueError: unknown sampler, too many steps, or arguments that do not fit together.
    """
    _check_denoiser(denoiser)
    schedule = getattr(denoiser, "schedule", None) if schedule is None else schedule
    if schedule is None:
        raise ValueError("sample needs the schedule that the net was trained with")
    clip = getattr(denoiser, "clip", True) if clip is None else clip
    if shape is None and start is None and condition is not None and hasattr(denoiser, "shape"):
        shape = denoiser.shape(condition)
    step = find_sampler(sampler)
    like = start if start is not None else condition
    told = shape if shape is not None and start is None else getattr(like, "shape", ())
    size = tuple(told)
    if len(size) != 4:
        raise ValueError("sample needs a condition, a start, or a shape (B, C, H, W)")
    device = like.device if like is not None else torch.device("cpu")
    times = schedule.respace(steps)
    if noises is not None and len(noises) < len(times) - 1:
        raise ValueError(f"{len(noises)} recorded noises for {len(times) - 1} steps")
    draw = noise_source(size, device, seeds)

    def noise(k: int) -> Tensor:
        return noises[k].to(device) if noises is not None else draw()

    if rederive is None:
        rederive = rederives(sampler, eta)

    def predict(k: int, y: Tensor) -> tuple[Tensor, Tensor]:
        gamma = float(schedule.gammas[times[k]])
        level = torch.full((size[0],), math.sqrt(gamma), device=device)
        epsilon = denoiser(y, condition, level)
        x0 = (y - math.sqrt(1 - gamma) * epsilon) / math.sqrt(gamma)
        if not clip and callback is None:  # to decode may be costly
            return x0, epsilon
        image = denoiser.decode(x0, condition)
        if clip:
            image = image.clamp(-1, 1)
            x0 = denoiser.encode(image, condition)
            if rederive:
                epsilon = derived(y, x0, gamma)
        if callback is not None:
            callback({"step": k, "t": times[k], "x0": image, "noisy": y})
        return x0, epsilon

    y = walk(
        step,
        predict,
        draw() if start is None else start,
        [float(schedule.gammas[t]) for t in times],
        noise,
        **step_options(sampler, variance, eta),
    )
    image = denoiser.decode(y, condition)
    return image.clamp(-1, 1) if clip else image


def _check_denoiser(denoiser: Any) -> None:
    """Refuse what may not answer noise: a net of `v` or of residuals would draw nonsense."""
    whole = all(callable(getattr(denoiser, name, None)) for name in ("encode", "decode"))
    if isinstance(denoiser, nn.Module) or not whole:
        raise TypeError(
            f"sample takes a cl_sr.models.Model, or a Denoiser of a net and of what it predicts, "
            f"not a {type(denoiser).__name__}: Denoiser(net, Parametrization('epsilon', 'image')) "
            "for one that answers the noise in images"
        )


def noise_source(
    size: tuple[int, ...], device: torch.device, seeds: Sequence[int] | None
) -> Callable[[], Tensor]:
    """Standard normal noise of `(B, ...)`, again and again; image k's from `seeds[k]` alone.

    Raises:
        ValueError: not as many seeds as images.
    """
    if seeds is not None and len(seeds) != size[0]:
        raise ValueError(f"{len(seeds)} seeds for {size[0]} images")
    if seeds is None:
        return lambda: torch.randn(size, device=device)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return lambda: torch.stack([torch.randn(size[1:], generator=g) for g in generators]).to(device)
