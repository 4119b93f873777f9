"""The public SR3 code's format: `*_gen.pth`."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cl_sr.diffusion import NoiseSchedule
from cl_sr.errors import InputError
from cl_sr.export.source import Source
from cl_sr.image_size import sides
from cl_sr.models import Model, read_model
from cl_sr.models.public import public_buffers


def write(folder: Path, source: Source) -> None:
    """`I<iterations>_E<domains>_gen.pth` with `denoise_fn.*` and the buffers of the schedule.

    Raises:
        InputError: the public code has no such model.
    """
    check(source)
    model = read_model(source.folder)
    state = {f"denoise_fn.{name}": t.contiguous() for name, t in model.net.state_dict().items()}
    state |= {name: t.float() for name, t in public_buffers(model.schedule).items()}
    file = io.BytesIO()  # torch.save tells of a full disk in words of its own
    torch.save(state, file)
    (folder / f"{stem(source)}_gen.pth").write_bytes(file.getbuffer())


def stem(source: Source) -> str:
    """The name that the public code gives: iterations, and epochs, which are domains here."""
    return f"I{source.about.iterations}_E{len(source.about.domains)}"


def check(source: Source) -> None:
    """Refuse what the public SR3 code cannot use.

    Raises:
        InputError: with the reason.
    """
    about = source.about
    why = ""
    if about.family != "sr3":
        why = f"of the family {about.family}, and the public SR3 code has SR3's U-Net alone"
    elif (prediction := about.diffusion.get("prediction", "epsilon")) != "epsilon":
        why = f"trained to predict {prediction}, and the public SR3 code takes its answer for noise"
    elif about.diffusion.get("target", "image") != "image":
        why = "a diffusion of the residual, and the public SR3 code diffuses the image"
    elif source.several:
        why = f"restoring with several nets ({source.composition.name}), and such a file has one"
    if why:
        raise InputError(
            f"--format sr3 is not for {source.folder}: it is {why}; leave --format out"
        )


def settings(model: Model) -> str:
    """What stands under `model` in a configuration of the public code, as JSON."""
    net = dict(model.architecture)
    size = min(sides(net.pop("image_size")))  # which says where attention is
    net["channel_multiplier"] = net.pop("channel_mults")
    schedule = _schedule(model.schedule)
    found: dict[str, Any] = {
        "which_model_G": "sr3",
        "finetune_norm": False,
        "unet": net,
        "beta_schedule": {"train": schedule, "val": schedule},
        "diffusion": {
            "image_size": size,
            "channels": net["out_channel"],
            "conditional": model.conditional,
        },
    }
    return json.dumps({"model": found}, indent=2)


def _schedule(schedule: NoiseSchedule) -> Mapping[str, Any]:
    """By the public code's names, where it has it; else its length, as the file has the rest."""
    gammas = schedule.gammas
    betas = 1 - gammas[1:] / gammas[:-1]
    first, last = float(betas[0]), float(betas[-1])
    straight = torch.linspace(first, last, len(betas), dtype=betas.dtype)
    if torch.allclose(betas, straight, rtol=1e-6, atol=1e-12):
        ends = {"linear_start": float(f"{first:.6g}"), "linear_end": float(f"{last:.6g}")}
        return {"schedule": "linear", "n_timestep": len(betas), **ends}
    if torch.allclose(gammas, NoiseSchedule.cosine(len(betas)).gammas, rtol=1e-6, atol=1e-12):
        return {"schedule": "cosine", "n_timestep": len(betas)}
    return {"n_timestep": len(betas)}
