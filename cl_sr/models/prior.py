"""Unconditional diffusion models of any origin behind one interface."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cl_sr.diffusion import NoiseSchedule, Parametrization
from cl_sr.diffusion.parametrization import Prediction
from cl_sr.errors import InputError
from cl_sr.files import read_json
from cl_sr.models.architecture import ddpm_arguments, guided_arguments
from cl_sr.models.ddpm import DDPMUNet
from cl_sr.models.guided import GuidedUNet
from cl_sr.models.loading import read_model
from cl_sr.models.model import Model
from cl_sr.models.public import model_from_state
from cl_sr.models.weights import State, build, kind_of, merged, read_weights

# Arguments in guided-diffusion's own configurations that do not change what its net computes.
NO_EFFECT = ("use_checkpoint", "use_fp16", "image_size")

# diffusers' schedulers for nets that were trained on DDPM's noise; they differ in how they sample.
DISCRETE = {
    f"{name}Scheduler"
    for name in (
        "DDIM", "DDIMInverse", "DDIMParallel", "DDPM", "DDPMParallel", "DEISMultistep",
        "DPMSolverMultistep", "DPMSolverMultistepInverse", "DPMSolverSDE", "DPMSolverSinglestep",
        "EulerAncestralDiscrete", "EulerDiscrete", "HeunDiscrete", "KDPM2AncestralDiscrete",
        "KDPM2Discrete", "LMSDiscrete", "PNDM", "RePaint", "SASolver", "UniPCMultistep",
    )
}  # fmt: skip


class Prior(nn.Module):
    """An unconditional diffusion model: `prior(noisy, timestep)` answers the noise.

    Args:
        net: `net(noisy, timestep)`, whose first channels of output are the noise.
        schedule: the one that it was trained with.
        multiple: H and W must be multiples of this.
        channels: of images: 3, or 1 for grey ones.

    Attributes:
        net, schedule, multiple, channels: as above.
    """

    def __init__(
        self, net: nn.Module, schedule: NoiseSchedule, multiple: int = 1, channels: int = 3
    ) -> None:
        super().__init__()
        self.channels = channels
        self.net = net
        self.schedule = schedule
        self.multiple = multiple

    def forward(self, noisy: Tensor, timestep: Tensor) -> Tensor:
        """The noise in images.

        Args:
            noisy: `(B, C, H, W)`, about [-1, 1] plus noise; C as the prior's `channels`.
            timestep: `(B,)` or one number, from 0 (nearly clean) to T - 1: `t` has the noise of
                `schedule.gammas[t + 1]`.

        Returns:
            `(B, C, H, W)`.
        """
        if noisy.shape[1] != self.channels:
            raise ValueError(
                f"the prior takes images of {self.channels} channels, not {noisy.shape[1]}"
            )
        if any(size % self.multiple for size in noisy.shape[-2:]):
            raise ValueError(
                f"the prior needs sizes that are multiples of {self.multiple}, "
                f"not {noisy.shape[-2]}x{noisy.shape[-1]}"
            )
        timestep = torch.as_tensor(timestep, device=noisy.device).flatten().expand(noisy.shape[0])
        noise: Tensor = self.net(noisy, timestep)[:, : self.channels]
        return noise


class NoiseOf(nn.Module):
    """A net of any habits as one that is told the time-step and answers the noise.

    Args:
        net: the network.
        ask: how to call it, `ask(net, noisy, timestep, level)` with `level = sqrt(gamma)`.
        schedule, prediction: those that it was trained with.
    """

    levels: Tensor
    sigmas: Tensor

    def __init__(
        self,
        net: nn.Module,
        ask: Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor],
        schedule: NoiseSchedule,
        prediction: Prediction,
    ) -> None:
        super().__init__()
        self.net = net
        self.ask = ask
        self.parametrization = Parametrization(prediction)
        # Where the net is, which may be trained on a device already.
        device = next((weight.device for weight in net.parameters()), None)
        gammas = schedule.gammas[1:]
        self.register_buffer("levels", gammas.sqrt().float().to(device), persistent=False)
        self.register_buffer("sigmas", (1 - gammas).sqrt().float().to(device), persistent=False)

    def forward(self, noisy: Tensor, timestep: Tensor) -> Tensor:
        level, sigma = self.levels[timestep.long()], self.sigmas[timestep.long()]
        output = self.ask(self.net, noisy, timestep, level)[:, : noisy.shape[1]]
        return self.parametrization.noise(output, noisy, level, sigma)


def _by_level(net: nn.Module, noisy: Tensor, timestep: Tensor, level: Tensor) -> Tensor:
    output: Tensor = net(noisy, None, level)
    return output


def _by_diffusers(net: nn.Module, noisy: Tensor, timestep: Tensor, level: Tensor) -> Tensor:
    output: Tensor = net(noisy, timestep).sample
    return output


def sr3_prior(model: Model, schedule: NoiseSchedule | None = None) -> Prior:
    """An unconditional SR3 model as a prior.

    Args:
        model: with a net that takes as many channels as it gives.
        schedule: in the place of its own.

    Raises:
        InputError: a conditional model, or one of another family.
    """
    if model.family != "sr3":
        raise InputError(f"a model of the family {model.family} is no prior: SR3's can be one")
    takes, gives = (model.architecture[name] for name in ("in_channel", "out_channel"))
    if model.conditional or takes != gives:
        raise InputError(
            f"this SR3 network is conditional (it takes {takes} channels and gives {gives}): a "
            "prior is unconditional and takes as many as it gives; start a run from it with --init "
            "instead"
        )
    schedule = schedule or model.schedule
    noise = NoiseOf(model.net, _by_level, schedule, model.parametrization.prediction)
    return Prior(noise, schedule, model.multiple, gives)


def load_prior(path: Path | str, schedule: NoiseSchedule | None = None, **overrides: Any) -> Prior:
    """Read an unconditional diffusion model, in evaluation mode.

    Four kinds, told apart by their keys: OpenAI guided-diffusion's `.pt`, the DDPM CelebA-HQ kind
    (SDEdit) `.ckpt`, unconditional SR3 (ours, or the public SR3 code's `*_gen.pth`), and a
    diffusers folder with a `UNet2DModel` (needs `pip install "cl-sr[diffusers]"`). The
    architecture is inferred from the shapes, see
    `cl_sr.models.architecture`.

    Args:
        path: a file, or a folder of ours or of diffusers.
        schedule: the noise schedule that it was trained with, where it is not the usual one of
            its kind: linear from 1e-4 to 0.02 in 1000 steps for guided-diffusion and DDPM, the
            file's own for SR3 and diffusers.
        overrides: arguments of the network that leave no trace in the shapes, by the names of
            its kind (`num_head_channels=16`, `num_heads=1`, `use_new_attention_order=True`,
            `norm_groups=16`).

    Raises:
        InputError: no such file, a conditional or another kind of model, or keys that are
            missing, surplus or misshapen.
    """
    path = Path(path)
    if path.is_dir():
        if (path / "model_index.json").is_file() or _is_diffusers(path):
            return _load_diffusers(path, schedule, overrides)
        return sr3_prior(read_model(path, **overrides), schedule).eval()
    if path.name == "model.safetensors" and (path.parent / "config.json").is_file():
        return load_prior(path.parent, schedule, **overrides)
    state = read_weights(path)
    linear = schedule or NoiseSchedule.linear(1000, 1e-4, 2e-2)
    if any(name.startswith("label_emb.") for name in state):
        raise InputError(f"{path} is class-conditional: a prior for DDNM is unconditional")
    begins = {name.split(".", 1)[0] for name in state}
    if {"input_blocks", "time_embed"} <= begins:
        return _load_guided(state, path, linear, overrides)
    if {"down", "temb"} <= begins:
        return _load_ddpm(state, path, linear, overrides)
    if any("noise_level_mlp." in name for name in state):
        image_size = overrides.pop("image_size", None)
        return sr3_prior(model_from_state(state, path, image_size, overrides), schedule).eval()
    raise InputError(
        f"{path} is no prior that can be read: it looks {kind_of(state)}. "
        "Give guided-diffusion's .pt, the DDPM CelebA-HQ .ckpt, an unconditional SR3 *_gen.pth, "
        "a cl-sr folder or a diffusers folder"
    )


def _load_guided(
    state: State, path: Path, schedule: NoiseSchedule, overrides: dict[str, Any]
) -> Prior:
    overrides = {key: value for key, value in overrides.items() if key not in NO_EFFECT}
    inferred = _inferred(guided_arguments, state, path)
    if "num_heads" in overrides and "num_head_channels" not in overrides:
        inferred["num_head_channels"] = -1  # heads by number take the place of heads by channels
    optional = ("dropout", "use_new_attention_order", "num_heads_upsample")
    arguments = merged(inferred, overrides, [*inferred, *optional], path)
    net = build(GuidedUNet, arguments, state, path)
    _check_channels(arguments["in_channels"], arguments["out_channels"], path)
    multiple = 2 ** (len(arguments["channel_mult"]) - 1)
    return Prior(net, schedule, multiple, arguments["in_channels"]).eval()


def _load_ddpm(
    state: State, path: Path, schedule: NoiseSchedule, overrides: dict[str, Any]
) -> Prior:
    size = overrides.get("image_size")
    if type(size) not in (int, type(None)):
        raise InputError(f"image_size={size!r} is no number of pixels")
    inferred = _inferred(ddpm_arguments, state, path, size)
    arguments = merged(inferred, overrides, [*inferred, "dropout"], path)
    net = build(DDPMUNet, arguments, state, path)
    _check_channels(arguments["in_channels"], arguments["out_ch"], path)
    multiple = 2 ** (len(arguments["ch_mult"]) - 1)
    return Prior(net, schedule, multiple, arguments["in_channels"]).eval()


def _inferred(infer: Any, state: State, path: Path, *more: Any) -> dict[str, Any]:
    try:
        found: dict[str, Any] = infer(state, *more)
    except (IndexError, ValueError, ZeroDivisionError) as error:
        raise InputError(
            f"{path} lacks what tells its architecture, though it looks {kind_of(state)}: {error}"
        ) from error
    return found


def _check_channels(channels_in: int, channels_out: int, path: Path) -> None:
    if channels_in not in (1, 3) or channels_out not in (channels_in, 2 * channels_in):
        raise InputError(
            f"{path} takes {channels_in} channels and gives {channels_out}: an unconditional prior "
            "takes 3 (or 1: grey) and gives as many, or twice as many where it learns its variance"
        )


def _is_diffusers(folder: Path) -> bool:
    file = folder / "config.json"
    return file.is_file() and "_class_name" in read_json(file)


def _load_diffusers(
    folder: Path, schedule: NoiseSchedule | None, overrides: dict[str, Any]
) -> Prior:
    """A `UNet2DModel`, alone or in a pipeline's folder with its scheduler beside it."""
    if overrides:
        raise InputError(f"{folder}: diffusers' config.json tells all, nothing can be overridden")
    try:
        from diffusers import UNet2DModel
    except ImportError as error:
        raise InputError(f'{folder} needs diffusers: pip install "cl-sr[diffusers]"') from error
    unet = folder / "unet" if (folder / "unet").is_dir() else folder
    _check_pipeline(folder if unet != folder else folder.parent)
    kind = read_json(unet / "config.json").get("_class_name")
    if kind != "UNet2DModel":
        raise InputError(f"{unet} holds a {kind}: only UNet2DModel is an unconditional prior")
    try:
        net, info = UNet2DModel.from_pretrained(
            unet, local_files_only=True, low_cpu_mem_usage=False, output_loading_info=True
        )
    # diffusers answers damaged files with errors of many kinds.
    except Exception as error:
        raise InputError(f"{unet} cannot be read by diffusers: {error}") from error
    if wrong := {kind: keys for kind, keys in info.items() if keys}:
        raise InputError(f"{unet} does not fit UNet2DModel: {wrong}")
    config = net.config
    if config.class_embed_type or config.num_class_embeds:
        raise InputError(f"{unet} is class-conditional: a prior for DDNM is unconditional")
    _check_channels(config.in_channels, config.out_channels, unet)
    scheduler = next((p for p in _scheduler_files(folder, unet) if p.is_file()), None)
    about = read_json(scheduler) if scheduler else {}
    if scheduler is not None:
        _check_scheduler(about, scheduler)
    schedule = schedule or _diffusers_schedule(about, scheduler or unet)
    kinds: dict[Any, Prediction] = {"epsilon": "epsilon", "v_prediction": "v", "sample": "x0"}
    prediction = kinds.get(about.get("prediction_type", "epsilon"))
    if prediction is None:
        raise InputError(f"{scheduler}: unknown prediction_type {about['prediction_type']!r}")
    multiple = 2 ** (len(config.block_out_channels) - 1)
    noise = NoiseOf(net, _by_diffusers, schedule, prediction)
    return Prior(noise, schedule, multiple, config.in_channels).eval()


def _scheduler_files(folder: Path, unet: Path) -> list[Path]:
    name = "scheduler_config.json"
    return [folder / "scheduler" / name, folder / name, unet.parent / "scheduler" / name]


def _check_pipeline(folder: Path) -> None:
    """Refuse a pipeline that has more than a net and a scheduler: it diffuses no images.

    Raises:
        InputError: with what it has.
    """
    file = folder / "model_index.json"
    parts = read_json(file) if file.is_file() else {}
    more = [name for name in parts if name[:1] != "_" and name not in ("unet", "scheduler")]
    if more:
        raise InputError(
            f"{folder} is a pipeline with {', '.join(more)}: a prior of images is a UNet2DModel "
            "with a scheduler alone (DDPMPipeline, DDIMPipeline)"
        )


def _check_scheduler(about: dict[str, Any], path: Path) -> None:
    """Refuse a scheduler of another noise than DDPM's, from which the net would see nothing.

    Raises:
        InputError: with what it is.
    """
    kind = about.get("_class_name", "DDPMScheduler")
    flows = [key for key in ("use_flow_sigmas", "use_edm_sigmas") if about.get(key)]
    if about.get("timestep_type") == "continuous":
        flows.append("continuous timesteps")
    if kind not in DISCRETE or flows:
        raise InputError(
            f"{path} is of {kind}{f' with {flows[0]}' if flows else ''}: a prior for DDNM was "
            "trained on the variance-preserving noise of DDPM, at whole time-steps"
        )


def _diffusers_schedule(about: dict[str, Any], path: Path) -> NoiseSchedule:
    """diffusers' betas, by its own code; DDPM's where no scheduler stands beside the net."""
    from diffusers import DDPMScheduler

    try:
        return NoiseSchedule.from_betas(DDPMScheduler.from_config(about).betas)
    except Exception as error:
        raise InputError(f"{path} tells no noise schedule: {error}") from error
