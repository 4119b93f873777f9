"""Our own format of weights on disk: a folder of `model.safetensors` and `config.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from cl_sr.diffusion import NoiseSchedule, Parametrization
from cl_sr.errors import InputError
from cl_sr.files import whole_folder
from cl_sr.image_size import sides
from cl_sr.models.description import CONFIG, WEIGHTS, Description, read_description
from cl_sr.models.family import find_family
from cl_sr.models.model import Model
from cl_sr.models.weights import State, fill, merged, read_weights

GAMMAS = "schedule.gammas"


def save_model(folder: Path | str, model: Model, **about: Any) -> None:
    """Write a model so that `read_model` can read it. The folder appears whole or not at all.

    Args:
        folder: one of the same name is replaced.
        model: to write.
        about: further attributes of its `Description` (`degradation="bicubic"`).
    """
    with whole_folder(Path(folder)) as partial:
        write_model(partial, model, replace(describe(model), **about))


def describe(model: Model) -> Description:
    """What a model tells of itself."""
    return Description(
        family=model.family,
        architecture=dict(model.architecture),
        diffusion=asdict(model.parametrization),
        conditional=model.conditional,
        steps=model.schedule.steps,
        scale=model.scale,
    )


def write_model(
    folder: Path, model: Model, description: Description, state: Mapping[str, Tensor] | None = None
) -> None:
    """The two files, into a folder that is there; `state` in the place of the net's own weights."""
    state = model.net.state_dict() if state is None else state
    tensors = {name: t.detach().cpu().contiguous() for name, t in state.items()}
    save_file(tensors | {GAMMAS: model.schedule.gammas}, folder / WEIGHTS)
    text = json.dumps(description.to_json(), indent=2) + "\n"
    (folder / CONFIG).write_text(text, encoding="utf-8")


def read_folder(
    folder: Path, overrides: Mapping[str, Any], schedule: NoiseSchedule | None = None
) -> Model:
    """The model of a folder of ours.

    Args:
        folder: with the two files.
        overrides: of the architecture; with `image_size`, attention stays at the same depth.
        schedule: where a file of old has none.

    Raises:
        InputError: damaged, or weights that do not fit.
    """
    about = read_description(folder)
    state = read_weights(folder / WEIGHTS)
    gammas = state.pop(GAMMAS, None)
    try:
        architecture = merged(about.architecture, overrides, about.architecture, folder)
        _resize(architecture, about.architecture, overrides)
        parametrization = Parametrization(**about.diffusion)
        schedule = NoiseSchedule(gammas) if gammas is not None else schedule
    except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise InputError(
            f"{folder} is not a cl-sr checkpoint: {type(error).__name__}: {error}"
        ) from error
    return from_state(
        architecture,
        state,
        folder,
        family=about.family,
        schedule=schedule or NoiseSchedule.linear(),
        parametrization=parametrization,
        conditional=about.conditional,
        scale=about.scale,
    )


def _resize(
    architecture: dict[str, Any], old: Mapping[str, Any], overrides: Mapping[str, Any]
) -> None:
    """Keep attention at its depth of the net, where the images get another size."""
    size = overrides.get("image_size")
    if size and "attn_res" in old and "attn_res" not in overrides:
        new, before = min(sides(size)), min(sides(old["image_size"]))
        architecture["attn_res"] = [res * new // before for res in old["attn_res"]]


def from_state(
    architecture: Mapping[str, Any], state: State, path: Path, *, family: str, **shared: Any
) -> Model:
    """A model in evaluation mode that is handed the tensors of `state`.

    Raises:
        InputError: an architecture that is none, or keys that are missing, surplus or misshapen.
    """
    kind = find_family(family)
    try:
        with torch.device("meta"):
            model = kind.model(architecture, family=family, title=kind.title, **shared)
    # Arguments of any type may come from a file.
    except Exception as error:
        raise InputError(f"{path}: no such network can be built: {error}") from error
    fill(model.net, state, path)
    model.net.eval()
    return model
