"""The model of a run: built anew from the configuration, or read from a file (`--init`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from cl_sr.config import DiffusionConfig, ModelConfig, RunConfig
from cl_sr.diffusion import NoiseSchedule, Parametrization
from cl_sr.errors import InputError
from cl_sr.models import SR3UNet, load_sr3


@dataclass(frozen=True)
class Model:
    """A network with what it was, or will be, trained with.

    Attributes:
        net: `net(noisy, condition, level)`.
        schedule: the noise schedule.
        parametrization: what the net predicts and what is diffused.
        title: what to call it.
        conditional: whether the net sees the low-resolution image.
    """

    net: nn.Module
    schedule: NoiseSchedule
    parametrization: Parametrization
    title: str = "SR3"
    conditional: bool = True


def build_model(config: RunConfig, conditional: bool = True) -> Model:
    """A net with random weights, from torch's global generator.

    Raises:
        InputError: keys that make no net or no schedule.
    """
    schedule = _schedule(config.diffusion)
    try:
        net = SR3UNet(
            in_channel=6 if conditional else 3,
            image_size=config.data.size,
            **config.model.model_dump(),
        )
    except ValueError as error:
        raise InputError(f"the keys model.* make no net: {error}") from error
    parametrization = Parametrization(
        config.diffusion.prediction,
        config.diffusion.target if conditional else "image",
        config.diffusion.residual_scale,
    )
    return Model(net, schedule, parametrization, conditional=conditional)


def _schedule(diffusion: DiffusionConfig) -> NoiseSchedule:
    try:
        if diffusion.schedule == "cosine":
            return NoiseSchedule.cosine(diffusion.steps)
        return NoiseSchedule.linear(diffusion.steps, diffusion.start, diffusion.end)
    except ValueError as error:
        raise InputError(f"the keys diffusion.* make no noise schedule: {error}") from error


def read_model(config: RunConfig) -> Model:
    """The net of `config.init`; what its file does not tell comes from the configuration.

    That is, for weights of the public SR3 code, `model.norm_groups` and `model.dropout`, and for a
    bare state dict the noise schedule too.

    Raises:
        InputError: no such file, not a conditional SR3 model, or one that contradicts the run.
    """
    assert config.init is not None
    path, size = Path(config.init), config.data.size
    try:
        path.exists()
    except (OSError, ValueError) as error:
        raise InputError(f"--init {config.init[:100]}: {error}") from error
    unknown: dict[str, Any] = {"dropout": config.model.dropout}
    if path.is_file() and path.name != "model.safetensors":  # others' files tell less than ours
        unknown |= {"norm_groups": config.model.norm_groups, "image_size": size}
    net = load_sr3(path, **unknown)
    if net.config["in_channel"] != 6 or net.config["out_channel"] != 3:
        raise InputError(
            f"--init {path}: an unconditional network ({net.config['in_channel']} input channels) "
            "cannot super-resolve; it is a prior for --strategy ddnm:prior=FILE"
        )
    if net.config["image_size"] != size:
        raise InputError(
            f"--init {path} was trained at {net.config['image_size']} pixels, and this run is at "
            f"data.size={size}: set data.size={net.config['image_size']}"
        )
    if net.scale not in (None, config.data.scale):
        raise InputError(
            f"--init {path} was trained for scale {net.scale}, and this run is at "
            f"data.scale={config.data.scale}: set data.scale={net.scale}"
        )
    schedule = net.schedule or _schedule(config.diffusion)
    parametrization = net.parametrization or Parametrization()
    return Model(net, schedule, parametrization, title=f"SR3 from {path}")


def describe_model(config: RunConfig, model: Model) -> RunConfig:
    """The configuration with the architecture and schedule of a model that was read from a file."""
    assert isinstance(model.net, SR3UNet)
    arguments = {key: model.net.config[key] for key in ModelConfig.model_fields}
    diffusion = {
        "schedule": "init",
        "steps": model.schedule.steps,
        "prediction": model.parametrization.prediction,
        "target": model.parametrization.target,
        "residual_scale": model.parametrization.residual_scale,
    }
    return config.model_copy(
        update={
            "model": config.model.model_copy(update=arguments),
            "diffusion": config.diffusion.model_copy(update=diffusion),
        }
    )
