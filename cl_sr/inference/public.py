"""A restorer from a file of weights that does not describe itself: the public SR3 code's."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from cl_sr.diffusion import Parametrization, Sampling
from cl_sr.diffusion.parametrization import Prediction
from cl_sr.errors import InputError
from cl_sr.inference.device import choose_device
from cl_sr.inference.loading import restorer
from cl_sr.inference.restorer import Origin, Restorer
from cl_sr.models.prior_loading import SR3, Noise
from cl_sr.models.public import model_from_state, schedule_of
from cl_sr.models.training_noise import assumption, split_arguments
from cl_sr.models.weights import read_weights, unwrapped
from cl_sr.strategies import compose

# What only nets have that are not shown the low-resolution image.
PRIORS = ({"input_blocks", "time_embed"}, {"down", "temb"}, {"down_blocks", "time_embedding"})


def load_file(
    path: Path,
    scale: int | None = None,
    *,
    device: str = "auto",
    precision: str | None = None,
    batch: int = 64,
    degradation: str = "bicubic",
    image_size: int | None = None,
    **arguments: Any,
) -> Restorer:
    """What a `*_gen.pth` of the public SR3 code restores images with, or a bare net of it.

    Args:
        path: a file.
        scale: that it was trained for, which the file does not tell.
        device, precision, batch: see `cl_sr.inference.load_restorer`.
        degradation: that made the low-resolution images.
        image_size: H = W that it was trained at.
        arguments: what leaves no trace, of the net (`norm_groups=16`), and, where the file has no
            noise schedule, of its training, as `cl_sr.models.load_prior` takes it
            (`noise_schedule="cosine"`, `diffusion_steps=1000`, `prediction="v"`).

    Raises:
        InputError: no scale, a file of another kind, a prior, or arguments that contradict the
            file.
    """
    told, of_net = split_arguments(arguments)
    state = read_weights(path)
    own, beside = unwrapped(state)
    if any(marks <= {name.split(".", 1)[0] for name in own} for marks in PRIORS):
        raise InputError(refusal(path))
    schedule = schedule_of(beside, path) if "betas" in beside else None
    noise = Noise(path, told, None)
    # The public SR3 code knows no other prediction, and saves the schedule with it.
    usual: Prediction | None = (
        "epsilon" if schedule is not None and told.prediction is None else None
    )
    schedule, prediction = noise.settle(SR3, schedule, usual)
    model = model_from_state(state, path, image_size, of_net, schedule)
    if not model.conditional:
        raise InputError(refusal(path))
    if scale is None:
        raise InputError(
            f"{path} does not tell the scale that it was trained for: give --scale (8 for 16 to "
            "128 pixels)"
        )
    if noise.assumed:
        warnings.warn(assumption(path, noise.assumed), stacklevel=2)
    return restorer(
        replace(model, parametrization=Parametrization(prediction)),
        compose("finetune"),
        {},
        degradation=degradation,
        scale=scale,
        sampling=Sampling(),
        device=choose_device(device),
        precision=precision or "auto",
        batch=batch,
        origin=Origin(),
    )


def refusal(path: Path) -> str:
    """Of a prior: which command takes it."""
    return (
        f"{path} is a prior, which is not shown the low-resolution image: cl-sr zero-shot --prior "
        "takes it (in Python, cl_sr.models.load_prior)"
    )
