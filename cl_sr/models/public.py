"""The public SR3 code's checkpoints: `*_gen.pth` with `denoise_fn.*` and the schedule's buffers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cl_sr.diffusion import NoiseSchedule
from cl_sr.errors import InputError
from cl_sr.image_size import image_size as sized
from cl_sr.models.architecture import sr3_arguments
from cl_sr.models.checkpoint import from_state
from cl_sr.models.model import Model
from cl_sr.models.weights import State, check_keys, kind_of, merged, unwrapped


def model_from_state(
    state: State,
    path: Path,
    image_size: int | Sequence[int] | None,
    overrides: dict[str, Any],
    schedule: NoiseSchedule | None = None,
) -> Model:
    """A model from a state dict of the public SR3 code, whatever it is wrapped in.

    Args:
        state: read from `path`.
        path: for messages.
        image_size: in pixels; it leaves no trace in the shapes.
        overrides: other arguments of `SR3UNet`.
        schedule: where the file has none (a bare state dict); None: SR3's.

    Raises:
        InputError: another kind of network, or keys that are missing, surplus or misshapen.
    """
    own, buffers = unwrapped(state)
    if not all(
        any(name.startswith(mark) for name in own) for mark in ("downs.", "noise_level_mlp.")
    ):
        raise InputError(f"{path} is not SR3's U-Net: it looks {kind_of([*state, *own])}")
    try:
        image_size = None if image_size is None else sized(image_size)
    except (TypeError, ValueError) as error:
        raise InputError(f"image_size={image_size!r} is no number of pixels, and no two") from error
    try:
        inferred = sr3_arguments(own, image_size)
    except (IndexError, ValueError, ZeroDivisionError) as error:
        raise InputError(f"{path} lacks what tells SR3's architecture: {error}") from error
    architecture = merged(inferred, overrides, [*inferred, "dropout"], path)
    takes, gives = architecture["in_channel"], architecture["out_channel"]
    if gives not in (1, 3) or takes not in (gives, 2 * gives):
        raise InputError(
            f"{path} takes {takes} channels and gives {gives}: SR3's net takes 6 and gives 3, for "
            "grey images 2 and 1; a prior takes as many as it gives"
        )
    if buffers.keys() & public_buffers(NoiseSchedule.linear(1)).keys():
        schedule = _schedule(buffers, path)
    return from_state(
        architecture,
        own,
        path,
        family="sr3",
        schedule=schedule or NoiseSchedule.linear(),
        conditional=takes != gives,
    )


def _schedule(buffers: State, path: Path) -> NoiseSchedule:
    """From the betas: near gamma = 1, float32 products have lost what float32 betas still have."""
    lengths = Counter(len(tensor) for tensor in buffers.values() if tensor.ndim == 1)
    steps = lengths.most_common(1)[0][0] if lengths else 0
    check_keys(
        dict.fromkeys(public_buffers(NoiseSchedule.linear(1)), (steps,)),
        buffers,
        path,
        f"{path}: its noise schedule is not that of the public SR3 code",
    )
    schedule = schedule_of(buffers, path)
    for name, derived in public_buffers(schedule).items():
        # What is derived from betas in half precision is off by what they are, and more.
        dtypes = buffers["betas"].dtype, buffers[name].dtype
        half = any(dtype in (torch.float16, torch.bfloat16) for dtype in dtypes)
        rtol, atol = (5e-2, 2e-2) if half else (1e-3, 1e-4)
        if not torch.allclose(buffers[name].double(), derived, rtol, atol):
            raise InputError(f"{path}: its betas and its {name} contradict each other")
    return schedule


def schedule_of(buffers: State, path: Path) -> NoiseSchedule:
    """The noise schedule of the betas beside a net.

    Raises:
        InputError: they make none.
    """
    try:
        return NoiseSchedule.from_betas(buffers["betas"])
    except ValueError as error:
        raise InputError(f"{path}: the betas in it make no noise schedule: {error}") from error


def public_buffers(schedule: NoiseSchedule) -> dict[str, Tensor]:
    """What the public SR3 code saves of a schedule beside the weights: float64 `(T,)` each."""
    gammas, before = schedule.gammas[1:], schedule.gammas[:-1]
    alphas = gammas / before
    variance = (1 - alphas) * (1 - before) / (1 - gammas)
    return {
        "betas": 1 - alphas,
        "alphas_cumprod": gammas,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": gammas.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - gammas).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - gammas).log(),
        "sqrt_recip_alphas_cumprod": (1 / gammas).sqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / gammas - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
        "posterior_mean_coef1": (1 - alphas) * before.sqrt() / (1 - gammas),
        "posterior_mean_coef2": (1 - before) * alphas.sqrt() / (1 - gammas),
    }
