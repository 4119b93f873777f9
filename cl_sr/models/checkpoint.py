"""SR3 weights on disk: our own folder of `model.safetensors` and `config.json`, and `load_sr3`."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from cl_sr.diffusion import NoiseSchedule, Parametrization
from cl_sr.errors import InputError
from cl_sr.models.architecture import sr3_arguments
from cl_sr.models.unet import SR3UNet
from cl_sr.models.weights import State, build, check_keys, kind_of, read_json, read_weights

KIND = "cl-sr SR3UNet"
GAMMAS = "schedule.gammas"
# What the public SR3 code derives from the betas and saves beside the weights; all `(T,)`.
PUBLIC_BUFFERS = (
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
)


def save_sr3(
    folder: Path | str,
    net: SR3UNet,
    parametrization: Parametrization,
    schedule: NoiseSchedule | None = None,
    scale: int | None = None,
) -> None:
    """Write a net so that `load_sr3` can read it. The folder appears whole or not at all.

    One of the same name is replaced. `schedule` and `scale` are those that the net was trained
    with.
    """
    folder = Path(folder)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    tensors = {name: t.detach().cpu().contiguous() for name, t in net.state_dict().items()}
    if schedule is not None:
        tensors[GAMMAS] = schedule.gammas
    save_file(tensors, partial / "model.safetensors")
    config = {
        "kind": KIND,
        "unet": net.config,
        "diffusion": asdict(parametrization),
        "scale": scale,
    }
    (partial / "config.json").write_text(dumps(config, indent=2) + "\n", encoding="utf-8")
    if folder.exists():
        former = folder.with_name(f".{folder.name}.former")
        os.replace(folder, former)
        os.replace(partial, folder)
        shutil.rmtree(former)
    else:
        os.replace(partial, folder)


def load_sr3(path: Path | str, image_size: int | None = None, **overrides: Any) -> SR3UNet:
    """Read an SR3 net: one of ours, or the public SR3 code's `*_gen.pth`.

    The net's `schedule`, `parametrization` and `scale` are those of the file, each None where it
    does not tell (a bare state dict has none; the public code's files have no scale).

    Args:
        path: a folder that `save_sr3` wrote (or the `model.safetensors` in it), or a checkpoint of
            the public SR3 code.
        image_size: the images' size in pixels, where it differs from that of training.
        overrides: other arguments of `SR3UNet` (`norm_groups=16`, `dropout=0.1`). For the public
            code's files the architecture is inferred from the shapes (`sr3_arguments`), and what
            leaves no trace there is `norm_groups` above all.

    Raises:
        InputError: no such file, one of another kind, or keys that are missing, surplus or
            misshapen.
    """
    path = Path(path)
    if path.is_file():
        config_file = path.parent / "config.json"
        if path.name == "model.safetensors" and config_file.is_file():
            return _load_own(path.parent, image_size, overrides)
        return sr3_from_state(read_weights(path), path, image_size, overrides)
    if not (path / "config.json").is_file() or not (path / "model.safetensors").is_file():
        raise InputError(
            f"{path}: no weights here; give a folder with model.safetensors and config.json, "
            "such as RUN/checkpoints/celeba, or a *_gen.pth of the public SR3 code"
        )
    return _load_own(path, image_size, overrides)


def _load_own(folder: Path, image_size: int | None, overrides: dict[str, Any]) -> SR3UNet:
    config = read_json(folder / "config.json")
    if config.get("kind") != KIND:
        raise InputError(f"{folder} is not a cl-sr checkpoint: its config.json is another's")
    state = read_weights(folder / "model.safetensors")
    gammas = state.pop(GAMMAS, None)
    try:
        unet = config["unet"] | overrides
        if image_size:
            # Attention stays at the same depth of the net.
            old = unet["image_size"]
            sizes = [res * image_size // old for res in unet["attn_res"]]
            unet |= {"image_size": image_size, "attn_res": overrides.get("attn_res", sizes)}
        parametrization = Parametrization(**config["diffusion"])
        schedule = None if gammas is None else NoiseSchedule(gammas)
    except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise InputError(
            f"{folder} is not a cl-sr checkpoint: {type(error).__name__}: {error}"
        ) from error
    net = build(SR3UNet, unet, state, folder)
    net.parametrization, net.schedule, net.scale = parametrization, schedule, config.get("scale")
    return net


def sr3_from_state(
    state: State, path: Path, image_size: int | None, overrides: dict[str, Any]
) -> SR3UNet:
    """A net from a state dict of the public SR3 code, with or without its `denoise_fn.`."""
    prefix = "denoise_fn."
    own = {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
    buffers = {name: t for name, t in state.items() if own and not name.startswith(prefix)}
    own = own or state
    if "downs.0.weight" not in own or "noise_level_mlp.1.weight" not in own:
        raise InputError(f"{path} is not SR3's U-Net: it looks {_like(kind_of(state))}")
    try:
        config = sr3_arguments(own, image_size)
    except (KeyError, IndexError, ValueError, ZeroDivisionError, TypeError) as error:
        raise InputError(f"{path} lacks keys that tell SR3's architecture: {error}") from error
    net = build(SR3UNet, config | overrides, own, path)
    net.parametrization = Parametrization()
    if buffers:
        net.schedule = _public_schedule(buffers, path)
    return net


def _like(kind: str) -> str:
    return kind if kind.startswith("of ") else f"like {kind}"


def _public_schedule(buffers: State, path: Path) -> NoiseSchedule:
    """From the betas: near gamma = 1, float32 products have lost what float32 betas still have."""
    steps = len(buffers["betas"]) if "betas" in buffers else 0
    check_keys(
        dict.fromkeys(PUBLIC_BUFFERS, (steps,)),
        buffers,
        path,
        f"{path}: its noise schedule is not that of the public SR3 code",
    )
    try:
        schedule = NoiseSchedule.from_betas(buffers["betas"])
    except ValueError as error:
        raise InputError(f"{path}: the betas in it make no noise schedule: {error}") from error
    saved: Tensor = buffers["alphas_cumprod"].double()
    if not torch.allclose(saved, schedule.gammas[1:], rtol=1e-3, atol=1e-6):
        raise InputError(f"{path}: its betas and its alphas_cumprod contradict each other")
    return schedule
