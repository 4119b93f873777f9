"""Weights on disk: `model.safetensors` and `config.json` in one folder, no pickles."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from cl_sr.diffusion.parametrization import Parametrization
from cl_sr.errors import InputError
from cl_sr.models.unet import SR3UNet


def save_sr3(folder: Path | str, net: SR3UNet, parametrization: Parametrization) -> None:
    """Write a net so that `load_sr3` can read it. The folder appears whole or not at all.

    One of the same name is replaced.
    """
    folder = Path(folder)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()},
        partial / "model.safetensors",
    )
    config = {"kind": "cl-sr SR3UNet", "unet": net.config, "diffusion": asdict(parametrization)}
    (partial / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    if folder.exists():
        former = folder.with_name(f".{folder.name}.former")
        os.replace(folder, former)
        os.replace(partial, folder)
        shutil.rmtree(former)
    else:
        os.replace(partial, folder)


def load_sr3(path: Path | str, image_size: int | None = None, **overrides: Any) -> SR3UNet:
    """Read a net that `save_sr3` wrote.

    Args:
        path: the folder, or the `model.safetensors` in it.
        image_size: the images' size in pixels, where it differs from that of training.
        overrides: other arguments of `SR3UNet` (`dropout=0.1`).

    Raises:
        InputError: not such a folder, or weights that do not fit the configuration.
    """
    folder = Path(path)
    folder = folder.parent if folder.suffix == ".safetensors" else folder
    if not (folder / "config.json").is_file() or not (folder / "model.safetensors").is_file():
        raise InputError(
            f"{path}: no weights here; give a folder with model.safetensors and config.json, "
            "such as RUN/checkpoints/celeba"
        )
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))["unet"]
        net = SR3UNet(**(config | overrides | ({"image_size": image_size} if image_size else {})))
        state = load_file(folder / "model.safetensors")
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise InputError(f"{folder}: not a cl-sr checkpoint ({error})") from error
    wanted = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if wanted != found:
        wrong = sorted(name for name in wanted | found if wanted.get(name) != found.get(name))
        raise InputError(f"{folder}: weights do not fit the configuration: {', '.join(wrong)}")
    net.load_state_dict(state)
    return net
