"""Reading a super-resolution model of ours or of others, by what the path holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cl_sr.diffusion import NoiseSchedule
from cl_sr.errors import InputError
from cl_sr.models.checkpoint import read_folder
from cl_sr.models.description import is_checkpoint
from cl_sr.models.model import Model
from cl_sr.models.places import weights_at
from cl_sr.models.public import model_from_state
from cl_sr.models.unet import SR3UNet
from cl_sr.models.weights import read_weights


def read_model(
    path: Path | str,
    image_size: int | Sequence[int] | None = None,
    schedule: NoiseSchedule | None = None,
    **overrides: Any,
) -> Model:
    """Read a model: one of ours, or the public SR3 code's `*_gen.pth`. It is in evaluation mode.

    Args:
        path: a folder that `save_model` or a run wrote (or the `model.safetensors` in it), or a
            checkpoint of the public SR3 code (`I640000_E37_gen.pth`, or `I640000_E37`).
        image_size: H = W of the images, or H and W, where they differ from those of training.
        schedule: the noise schedule, where the file has none; None: SR3's.
        overrides: other arguments of the net (`norm_groups=16`, `dropout=0.1`). For the public
            code's files the architecture is inferred from the shapes (`sr3_arguments`), and what
            leaves no trace there is `norm_groups` above all.

    Raises:
        InputError: no such file, one of another kind, or keys that are missing, surplus or
            misshapen.
    """
    path = weights_at(path)
    if path.is_file():
        return model_from_state(read_weights(path), path, image_size, overrides, schedule)
    if not is_checkpoint(path):
        raise InputError(
            f"{path}: no weights here; give a folder with model.safetensors and config.json, "
            "such as RUN/checkpoints/celeba, or a *_gen.pth of the public SR3 code"
        )
    if image_size is not None:
        overrides["image_size"] = image_size
    return read_folder(path, overrides, schedule)


def load_sr3(
    path: Path | str, image_size: int | Sequence[int] | None = None, **overrides: Any
) -> SR3UNet:
    """The net of `read_model`, where it is SR3's.

    Raises:
        InputError: as `read_model`, or a model of another family.
    """
    model = read_model(path, image_size, **overrides)
    if not isinstance(model.net, SR3UNet):
        raise InputError(f"{path} is a model of the family {model.family}, not SR3")
    return model.net
