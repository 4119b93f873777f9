"""A restorer from a file of weights that does not describe itself: the public SR3 code's."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from cl_sr.diffusion import Sampling
from cl_sr.errors import InputError
from cl_sr.inference.device import choose_device
from cl_sr.inference.loading import restorer
from cl_sr.inference.restorer import Origin, Restorer
from cl_sr.models.public import model_from_state
from cl_sr.models.weights import read_weights
from cl_sr.strategies import compose

# The beginnings of keys that only nets have which are not shown the low-resolution image.
PRIORS = ("input_blocks.", "temb.dense.", "down_blocks.")


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
    """What a `*_gen.pth` of the public SR3 code restores images with.

    Args:
        path: a file.
        scale: that it was trained for, which the file does not tell.
        device, precision, batch: see `cl_sr.inference.load_restorer`.
        degradation: that made the low-resolution images.
        image_size: H = W that it was trained at.
        arguments: of the net, of what leaves no trace in the shapes: `norm_groups=16`.

    Raises:
        InputError: no scale, a file of another kind, or a prior.
    """
    state = read_weights(path)
    if any(name.startswith(PRIORS) for name in state):
        raise InputError(refusal(path))
    model = model_from_state(state, path, image_size, arguments)
    if not model.conditional:
        raise InputError(refusal(path))
    if not any(name.endswith("betas") for name in state):
        warnings.warn(
            f"{path} has no noise schedule: SR3's for 16 to 128 pixels is assumed "
            f"(linear, {model.schedule.steps} steps)",
            stacklevel=2,
        )
    if scale is None:
        raise InputError(
            f"{path} does not tell the scale that it was trained for: give --scale (8 for 16 to "
            "128 pixels)"
        )
    return restorer(
        model,
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
