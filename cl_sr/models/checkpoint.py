"""SR3 weights on disk: our own folder of `model.safetensors` and `config.json`, and `load_sr3`."""

from __future__ import annotations

import inspect
from collections import Counter
from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from cl_sr.diffusion import NoiseSchedule, Parametrization
from cl_sr.errors import InputError
from cl_sr.files import read_json, whole_folder
from cl_sr.models.architecture import sr3_arguments
from cl_sr.models.unet import SR3UNet
from cl_sr.models.weights import State, below, build, check_keys, kind_of, merged, read_weights

KIND = "cl-sr SR3UNet"
GAMMAS = "schedule.gammas"
ARGUMENTS = tuple(inspect.signature(SR3UNet).parameters)


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
    with whole_folder(Path(folder)) as partial:
        write_sr3(partial, net, parametrization, schedule, scale)


def write_sr3(
    folder: Path,
    net: SR3UNet,
    parametrization: Parametrization,
    schedule: NoiseSchedule | None,
    scale: int | None,
    state: State | None = None,
) -> None:
    """The two files of `save_sr3`, into a folder that is there; `state` in place of net's own."""
    state = net.state_dict() if state is None else state
    tensors = {name: t.detach().cpu().contiguous() for name, t in state.items()}
    if schedule is not None:
        tensors[GAMMAS] = schedule.gammas
    save_file(tensors, folder / "model.safetensors")
    config = {
        "kind": KIND,
        "unet": net.config,
        "diffusion": asdict(parametrization),
        "scale": scale,
    }
    (folder / "config.json").write_text(dumps(config, indent=2) + "\n", encoding="utf-8")


def load_sr3(path: Path | str, image_size: int | None = None, **overrides: Any) -> SR3UNet:
    """Read an SR3 net: one of ours, or the public SR3 code's `*_gen.pth`.

    The net is in evaluation mode. Its `schedule`, `parametrization` and `scale` are those of the
    file, each None where it does not tell (a bare state dict has none; the public code's files have
    no scale).

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
        unet = merged(config["unet"], overrides, ARGUMENTS, folder)
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
    return net.eval()


def sr3_from_state(
    state: State, path: Path, image_size: int | None, overrides: dict[str, Any]
) -> SR3UNet:
    """A net from a state dict of the public SR3 code, with or without its `denoise_fn.`."""
    prefix = "denoise_fn."
    own = below(state, prefix)
    buffers = {name: t for name, t in state.items() if own and not name.startswith(prefix)}
    own = own or state
    if not all(
        any(name.startswith(mark) for name in own) for mark in ("downs.", "noise_level_mlp.")
    ):
        raise InputError(f"{path} is not SR3's U-Net: it looks {kind_of(state)}")
    if type(image_size) not in (int, type(None)):
        raise InputError(f"image_size={image_size!r} is no number of pixels")
    try:
        config = sr3_arguments(own, image_size)
    except (IndexError, ValueError, ZeroDivisionError) as error:
        raise InputError(f"{path} lacks what tells SR3's architecture: {error}") from error
    net = build(SR3UNet, merged(config, overrides, ARGUMENTS, path), own, path)
    net.parametrization = Parametrization()
    if buffers:
        net.schedule = _public_schedule(buffers, path)
    return net.eval()


def _public_schedule(buffers: State, path: Path) -> NoiseSchedule:
    """From the betas: near gamma = 1, float32 products have lost what float32 betas still have."""
    lengths = Counter(len(tensor) for tensor in buffers.values() if tensor.ndim == 1)
    steps = lengths.most_common(1)[0][0] if lengths else 0
    check_keys(
        dict.fromkeys(public_buffers(NoiseSchedule.linear(1)), (steps,)),
        buffers,
        path,
        f"{path}: its noise schedule is not that of the public SR3 code",
    )
    try:
        schedule = NoiseSchedule.from_betas(buffers["betas"])
    except ValueError as error:
        raise InputError(f"{path}: the betas in it make no noise schedule: {error}") from error
    for name, derived in public_buffers(schedule).items():
        if not torch.allclose(buffers[name].double(), derived, rtol=1e-3, atol=1e-4):
            raise InputError(f"{path}: its betas and its {name} contradict each other")
    return schedule


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
