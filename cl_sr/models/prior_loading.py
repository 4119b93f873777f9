"""Reading a prior: of which kind a file is, its architecture, and how it was trained."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from cl_sr.diffusion import NoiseSchedule
from cl_sr.diffusion.parametrization import Prediction
from cl_sr.errors import InputError
from cl_sr.models.architecture import ddpm_arguments, guided_arguments
from cl_sr.models.ddpm import DDPMUNet
from cl_sr.models.diffusers_folder import is_diffusers, read_diffusers
from cl_sr.models.guided import GuidedUNet
from cl_sr.models.loading import read_model
from cl_sr.models.model import Model
from cl_sr.models.places import weights_at
from cl_sr.models.prior import NoiseOf, Prior, sr3_prior
from cl_sr.models.public import model_from_state, schedule_of
from cl_sr.models.training_noise import TrainingNoise, assumption, split_arguments
from cl_sr.models.weights import State, build, kind_of, merged, read_weights, unwrapped

# Arguments in guided-diffusion's own configurations that do not change what its net computes.
NO_EFFECT = ("use_checkpoint", "use_fp16", "image_size")
# What guided-diffusion trains its nets at, by how their channels grow.
GUIDED_SIZES = {
    (1, 2, 3, 4): 64,
    (1, 1, 2, 3, 4): 128,
    (1, 1, 2, 2, 4, 4): 256,
    (0.5, 1, 1, 2, 2, 4, 4): 512,
}
DDPM = TrainingNoise("linear", 1000, 1e-4, 2e-2, "epsilon", False)
DIFFUSERS = replace(DDPM, rescale_timesteps=None)
SR3 = TrainingNoise("linear", 2000, 1e-6, 1e-2, "epsilon")


class Noise:
    """How a net was trained: by its file, by the user, or as is usual.

    Args:
        path: for messages.
        told: by the user.
        schedule: the same, as a schedule.
    """

    def __init__(self, path: Path, told: TrainingNoise, schedule: NoiseSchedule | None) -> None:
        if schedule is not None and told.of_schedule:
            raise InputError(f"schedule is given, and {', '.join(told.of_schedule)} as well")
        self.path = path
        self.told = told
        self.given = schedule
        self.assumed = ""

    def settle(
        self,
        usual: TrainingNoise,
        schedule: NoiseSchedule | None = None,
        prediction: Prediction | None = None,
    ) -> tuple[NoiseSchedule, Prediction]:
        """The schedule, and what the net predicts.

        Args:
            usual: of the kind of file.
            schedule, prediction: as the file tells; None: it does not.

        Raises:
            InputError: the user and the file contradict each other.
        """
        if schedule is not None and self.told.of_schedule:
            raise InputError(
                f"{self.path} tells its noise schedule of {schedule.steps} steps: leave out "
                f"{', '.join(self.told.of_schedule)}"
            )
        if prediction is not None and self.told.prediction not in (None, prediction):
            raise InputError(
                f"{self.path} tells that its net predicts {prediction}: leave out "
                f"prediction={self.told.prediction}"
            )
        known = {"prediction"} if prediction is not None else set()
        schedule = self.given or schedule
        if schedule is not None:
            known |= {"noise_schedule", "diffusion_steps", "beta_start", "beta_end"}
        noise, self.assumed = self.told.over(usual, known)
        return schedule or _schedule(noise), prediction or cast("Prediction", noise.prediction)


def load_prior(
    path: Path | str, schedule: NoiseSchedule | str | None = None, **arguments: Any
) -> Prior:
    """Read an unconditional diffusion model, in evaluation mode.

    Four kinds, told apart by their keys: OpenAI guided-diffusion's `.pt`, the DDPM CelebA-HQ kind
    (SDEdit) `.ckpt`, unconditional SR3 (ours, or the public SR3 code's `*_gen.pth`), and a
    diffusers folder with a `UNet2DModel` (needs `pip install "cl-sr[diffusers]"`), a training
    script's `checkpoint-500` as well: there, the moving average `unet_ema` is read where it is. The
    architecture is inferred from the shapes, see `cl_sr.models.architecture`. What is assumed of
    how the net was trained is told by a warning of one line.

    Args:
        path: a file, or a folder of ours or of diffusers.
        schedule: the noise schedule that it was trained with, in the place of the file's own; a
            text is `noise_schedule`.
        arguments: what leaves no trace in the file. Of the network, by the names of its kind:
            `num_head_channels=16`, `num_heads=1`, `use_new_attention_order=True`,
            `norm_groups=16`. Of its training, where the file has no schedule:
            `noise_schedule="cosine"` (or `linear`, `scaled_linear`), `diffusion_steps=4000`,
            `beta_start=1e-4`, `beta_end=0.02`, `prediction="v"` (or `epsilon`, `x0`) and
            `rescale_timesteps=True`; diffusers' names (`beta_schedule="squaredcos_cap_v2"`,
            `num_train_timesteps`, `prediction_type`) do as well.

    Raises:
        InputError: no such file, a conditional or another kind of model, keys that are missing,
            surplus or misshapen, or arguments that contradict the file.
    """
    path = weights_at(path)
    if isinstance(schedule, str):
        arguments, schedule = {"schedule": schedule, **arguments}, None
    told, overrides = split_arguments(arguments)
    noise = Noise(path, told, schedule)
    prior = _read(path, noise, overrides).eval()
    if noise.assumed:
        warnings.warn(assumption(path, noise.assumed), stacklevel=2)
    return prior


def _read(path: Path, noise: Noise, overrides: dict[str, Any]) -> Prior:
    if path.is_dir():
        if is_diffusers(path):
            return _diffusers(path, noise, overrides)
        default = NoiseSchedule.linear()
        model = read_model(path, schedule=default, **overrides)
        own = None if model.schedule is default else model.schedule
        return _sr3(model, noise, own, model.parametrization.prediction)
    state = read_weights(path)
    net, beside = unwrapped(state)
    schedule = schedule_of(beside, path) if "betas" in beside else None
    if any(name.startswith("label_emb.") for name in net):
        raise InputError(f"{path} is class-conditional: a prior for DDNM is unconditional")
    if any(name.startswith("first_stage_model.") for name in state):
        raise InputError(f"{path} diffuses latents, not images: it looks {kind_of(state)}")
    begins = {name.split(".", 1)[0] for name in net}
    if {"input_blocks", "time_embed"} <= begins:
        return _guided(net, path, noise, schedule, overrides)
    if {"down", "temb"} <= begins:
        return _ddpm(net, path, noise, schedule, overrides)
    if "noise_level_mlp" in begins:
        image_size = overrides.pop("image_size", None)
        return _sr3(model_from_state(state, path, image_size, overrides), noise, schedule, None)
    raise InputError(
        f"{path} is no prior that can be read: it looks {kind_of([*state, *net])}. "
        "Give guided-diffusion's .pt, the DDPM CelebA-HQ .ckpt, an unconditional SR3 *_gen.pth, "
        "a cl-sr folder or a diffusers folder"
    )


def _sr3(
    model: Model, noise: Noise, own: NoiseSchedule | None, prediction: Prediction | None
) -> Prior:
    if own is not None and prediction is None and noise.told.prediction is None:
        prediction = "epsilon"  # the public SR3 code knows no other
    schedule, prediction = noise.settle(SR3, own, prediction)
    return sr3_prior(model, schedule, prediction)


def _guided(
    state: State,
    path: Path,
    noise: Noise,
    own: NoiseSchedule | None,
    overrides: dict[str, Any],
) -> Prior:
    if not any(name.startswith("output_blocks.") for name in state):
        raise InputError(
            f"{path} is a classifier of guided-diffusion, which guides a denoiser and is none: "
            "give the diffusion model, such as 256x256_diffusion_uncond.pt"
        )
    size = overrides.get("image_size")
    overrides = {key: value for key, value in overrides.items() if key not in NO_EFFECT}
    inferred = _inferred(guided_arguments, state, path)
    _check_sigma(overrides.pop("learn_sigma", None), inferred, path)
    if "num_heads" in overrides and "num_head_channels" not in overrides:
        inferred["num_head_channels"] = -1  # heads by number take the place of heads by channels
    optional = ("dropout", "use_new_attention_order", "num_heads_upsample")
    arguments = merged(inferred, overrides, [*inferred, *optional], path)
    net = build(GuidedUNet, arguments, state, path)
    _check_channels(arguments["in_channels"], arguments["out_channels"], path)
    # Its linear schedules of any length have the same noise at their ends.
    scale = 1000 / (noise.told.diffusion_steps or 1000)
    usual = TrainingNoise("linear", 1000, scale * 1e-4, scale * 2e-2, "epsilon", False)
    mults = tuple(arguments["channel_mult"])
    size = GUIDED_SIZES.get(mults) if size is None else size
    return _timed(net, noise, *noise.settle(usual, own), len(mults), arguments["in_channels"], size)


def _ddpm(
    state: State,
    path: Path,
    noise: Noise,
    own: NoiseSchedule | None,
    overrides: dict[str, Any],
) -> Prior:
    size = overrides.get("image_size")
    if type(size) not in (int, type(None)):
        raise InputError(f"image_size={size!r} is no number of pixels")
    inferred = _inferred(ddpm_arguments, state, path, size)
    arguments = merged(inferred, overrides, [*inferred, "dropout"], path)
    net = build(DDPMUNet, arguments, state, path)
    _check_channels(arguments["in_channels"], arguments["out_ch"], path)
    settled, levels = noise.settle(DDPM, own), len(arguments["ch_mult"])
    return _timed(net, noise, *settled, levels, arguments["in_channels"], arguments["image_size"])


def _diffusers(path: Path, noise: Noise, overrides: dict[str, Any]) -> Prior:
    if overrides:
        raise InputError(f"{path}: diffusers' config.json tells the net, leave out {[*overrides]}")
    found = read_diffusers(path)
    config: Any = found.net.config
    _check_channels(config.in_channels, config.out_channels, found.folder)
    schedule, prediction = noise.settle(DIFFUSERS, found.schedule, found.prediction)
    noise_of = NoiseOf(found.net, _by_diffusers, schedule, prediction)
    return Prior(noise_of, schedule, found.multiple, config.in_channels, config.sample_size)


def _timed(
    net: nn.Module,
    noise: Noise,
    schedule: NoiseSchedule,
    prediction: Prediction,
    levels: int,
    channels: int,
    size: int | None,
) -> Prior:
    """A net that is told the time-step."""
    scale = 1000 / schedule.steps if noise.told.rescale_timesteps else 1.0
    if prediction != "epsilon" or scale != 1:
        net = NoiseOf(net, _by_time_step(scale), schedule, prediction)
    return Prior(net, schedule, 2 ** (levels - 1), channels, size)


def _by_time_step(scale: float) -> Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]:
    def ask(net: nn.Module, noisy: Tensor, timestep: Tensor, level: Tensor) -> Tensor:
        output: Tensor = net(noisy, timestep * scale)
        return output

    return ask


def _by_diffusers(net: nn.Module, noisy: Tensor, timestep: Tensor, level: Tensor) -> Tensor:
    output: Tensor = net(noisy, timestep).sample
    return output


def _schedule(noise: TrainingNoise) -> NoiseSchedule:
    numbers: Any = noise.diffusion_steps, noise.beta_start, noise.beta_end
    if noise.noise_schedule == "cosine":
        return NoiseSchedule.cosine(numbers[0])
    if noise.noise_schedule == "scaled_linear":
        return NoiseSchedule.scaled_linear(*numbers)
    return NoiseSchedule.linear(*numbers)


def _inferred(infer: Any, state: State, path: Path, *more: Any) -> dict[str, Any]:
    try:
        found: dict[str, Any] = infer(state, *more)
    except (IndexError, ValueError, ZeroDivisionError) as error:
        raise InputError(
            f"{path} lacks what tells its architecture, though it looks {kind_of(state)}: {error}"
        ) from error
    return found


def _check_sigma(learnt: Any, inferred: dict[str, Any], path: Path) -> None:
    """Refuse a `learn_sigma` of guided-diffusion's flags that the channels contradict."""
    channels_out = inferred["out_channels"]
    if learnt is not None and learnt is not (channels_out == 2 * inferred["in_channels"]):
        raise InputError(
            f"{path} gives {channels_out} channels, which tells whether it learns its variance: "
            f"leave out learn_sigma={learnt}"
        )


def _check_channels(channels_in: int, channels_out: int, path: Path) -> None:
    if channels_in not in (1, 3) or channels_out not in (channels_in, 2 * channels_in):
        raise InputError(
            f"{path} takes {channels_in} channels and gives {channels_out}: an unconditional prior "
            "takes 3 (or 1: grey) and gives as many, or twice as many where it learns its variance"
        )
