"""A restorer from a checkpoint's folder, which describes itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from cl_sr.degradations import build_degradation
from cl_sr.diffusion import Sampling
from cl_sr.errors import InputError
from cl_sr.files import read_json
from cl_sr.inference.device import autocast, choose_device, memory_format, use_bf16
from cl_sr.inference.nets import Nets
from cl_sr.inference.restorer import Origin, Restorer
from cl_sr.models import Model, read_model
from cl_sr.models.description import MEMORY as MEMORY_FILE
from cl_sr.models.description import TENSORS, VALUES, Description, read_description
from cl_sr.strategies import Composition, Memory, compose, read_choices, spell
from cl_sr.strategies.memory import flatten, unflatten

# What the memory of the strategies begins with, in the state that a run is resumed from.
MEMORY = "memory."


def load_restorer(
    folder: Path | str,
    *,
    description: Description | None = None,
    device: str = "auto",
    precision: str | None = None,
    batch: int = 64,
) -> Restorer:
    """What a checkpoint restores images with: its model, and what its strategy remembers.

    Args:
        folder: of a checkpoint, such as `RUN/checkpoints/celeba`; `cl_sr.load` takes runs too.
        description: of an old checkpoint, which does not tell all.
        device: `auto`, `cpu`, `cuda` or `mps`.
        precision: `auto`, `fp32` or `bf16`; None: that of the checkpoint, where it tells.
        batch: most images at a time.

    Raises:
        InputError: no checkpoint, or one that lacks something; a device that is not there.
    """
    folder = Path(folder)
    about = description or read_description(folder)
    memory = read_memory(folder)
    if about.strategy is None and any(memory.values()):
        raise InputError(
            f"{folder} was written before checkpoints told their strategy, and it remembers "
            "something: load the run that it is of"
        )
    choices = read_choices(about.strategy or "finetune")
    try:
        composition = compose(*choices)
    except InputError as error:
        raise InputError(f"{folder} needs the strategy that it was trained by: {error}") from error
    zero_shot = composition.traits.zero_shot
    sampling = about.sampling or Sampling()
    if zero_shot is not None:
        sampling = replace(zero_shot.sampling, seed=sampling.seed)
    return restorer(
        read_model(folder),
        composition,
        memory,
        degradation=about.degradation or "bicubic",
        scale=about.scale,
        sampling=sampling,
        device=choose_device(device),
        precision=precision or about.precision or "auto",
        batch=batch,
        origin=Origin(tuple(about.domains), spell(choices), about.iterations),
    )


def restorer(
    model: Model,
    composition: Composition,
    memory: Memory,
    *,
    degradation: str,
    scale: int | None,
    sampling: Sampling,
    device: torch.device,
    precision: str,
    batch: int,
    origin: Origin,
) -> Restorer:
    """A restorer of parts that were read from anywhere.

    Raises:
        InputError: a prior whose scale nobody told.
    """
    if scale is None:
        raise InputError(
            "this model does not tell the scale that it was trained for: load the run that it is of"
        )
    layout = memory_format(composition.traits.contiguous)
    model.net.to(device).to(memory_format=layout)
    return Restorer(
        model,
        build_degradation(degradation, scale),
        sampling,
        experts=composition.experts(on_device(memory, device)),
        nets=Nets(model.net, layout),
        autocast=autocast(device, use_bf16(precision, device)),
        batch=batch,
        origin=origin,
    )


def read_memory(folder: Path) -> Memory:
    """What the strategies of a checkpoint remember, by strategy; nothing, where there is none.

    Raises:
        InputError: it is damaged.
    """
    try:
        if (folder / MEMORY_FILE).is_file():  # exported
            with safe_open(folder / MEMORY_FILE, framework="pt") as file:
                flat = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
                return unflatten(flat | json.loads(file.metadata()["values"]))
        if not (folder / TENSORS).is_file() or not (folder / VALUES).is_file():
            return {}
        values, flat = read_json(folder / VALUES)["memory"], {}
        with safe_open(folder / TENSORS, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (no mapping)
                if name.startswith(MEMORY):
                    # Copies: tensors of a mapped file may not be aligned.
                    flat[name.removeprefix(MEMORY)] = file.get_tensor(name).clone()
        return unflatten(flat | values)
    except (KeyError, TypeError, json.JSONDecodeError, OSError, SafetensorError) as error:
        raise InputError(f"{folder} is damaged ({type(error).__name__}: {error})") from error


def write_memory(folder: Path, memory: Memory) -> None:
    """What `read_memory` reads, in a file of its own: without the state of a training."""
    flat = flatten(memory)
    tensors = {name: value for name, value in flat.items() if isinstance(value, torch.Tensor)}
    values = {name: value for name, value in flat.items() if name not in tensors}
    save_file(
        {name: tensor.cpu().clone().contiguous() for name, tensor in tensors.items()},
        folder / MEMORY_FILE,
        metadata={"values": json.dumps(values)},
    )


def on_device(memory: Any, device: torch.device) -> Any:
    """What strategies remember, with its tensors on a device."""
    if isinstance(memory, dict):
        return {name: on_device(value, device) for name, value in memory.items()}
    return memory.to(device) if isinstance(memory, torch.Tensor) else memory
