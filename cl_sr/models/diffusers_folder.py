"""A `UNet2DModel` in a folder of diffusers: a pipeline's, a training script's, or the net's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from cl_sr.diffusion import NoiseSchedule
from cl_sr.diffusion.parametrization import Prediction
from cl_sr.errors import InputError
from cl_sr.files import read_json
from cl_sr.models.foreign import check_kind

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
PREDICTIONS: dict[Any, Prediction] = {"epsilon": "epsilon", "v_prediction": "v", "sample": "x0"}
SCHEDULER = "scheduler_config.json"
NETS = ("unet_ema", "unet")  # the moving average first: it is what the training script exports


@dataclass(frozen=True)
class Found:
    """What a folder holds.

    Attributes:
        net: a `UNet2DModel`.
        folder: the net's own.
        schedule, prediction: as its scheduler tells; None where there is no scheduler.
    """

    net: nn.Module
    folder: Path
    schedule: NoiseSchedule | None
    prediction: Prediction | None

    @property
    def multiple(self) -> int:
        """H and W of images must be multiples of it."""
        config: Any = self.net.config
        return int(2 ** (len(config.block_out_channels) - 1))


def is_diffusers(folder: Path) -> bool:
    """Whether a folder is a pipeline's, of a training script (`checkpoint-500`), or a net's."""
    if (folder / "model_index.json").is_file():
        return True
    if any((folder / name / "config.json").is_file() for name in NETS):
        return True
    file = folder / "config.json"
    return file.is_file() and "_class_name" in read_json(file)


def read_diffusers(folder: Path) -> Found:
    """The unconditional net in a folder, and the scheduler beside it.

    Raises:
        InputError: no such net, or one that was trained on other noise than DDPM's.
    """
    try:
        from diffusers import UNet2DModel
    except ImportError as error:
        raise InputError(f'{folder} needs diffusers: pip install "cl-sr[diffusers]"') from error
    unet = next((folder / name for name in NETS if (folder / name).is_dir()), folder)
    _check_pipeline(folder if unet != folder else folder.parent)
    kind = read_json(unet / "config.json").get("_class_name")
    if kind != "UNet2DModel":
        raise InputError(f"{unet} holds a {kind}: only UNet2DModel is an unconditional prior")
    for file in unet.glob("diffusion_pytorch_model*"):
        if file.suffix in (".safetensors", ".bin"):
            check_kind(file)
    try:
        net, info = UNet2DModel.from_pretrained(
            unet, local_files_only=True, low_cpu_mem_usage=False, output_loading_info=True
        )
    # diffusers answers damaged files with errors of many kinds.
    except Exception as error:
        raise InputError(f"{unet} cannot be read by diffusers: {error}") from error
    if wrong := {kind: keys for kind, keys in info.items() if keys}:
        raise InputError(f"{unet} does not fit UNet2DModel: {wrong}")
    if net.config.class_embed_type or net.config.num_class_embeds:
        raise InputError(f"{unet} is class-conditional: a prior for DDNM is unconditional")
    scheduler = _scheduler(unet)
    if scheduler is None:
        return Found(net, unet, None, None)
    about = read_json(scheduler)
    _check_scheduler(about, scheduler)
    name = about.get("prediction_type", "epsilon")
    if name not in PREDICTIONS:
        raise InputError(f"{scheduler}: unknown prediction_type {name!r}")
    return Found(net, unet, _schedule(about, scheduler), PREDICTIONS[name])


def _scheduler(unet: Path) -> Path | None:
    """In the net's folder, beside it, or where a training script puts it: beside `checkpoint-N`."""
    unet = unet.absolute()
    above = [unet, unet.parent]
    if unet.name in NETS and unet.parent.name.startswith("checkpoint-"):
        above.append(unet.parent.parent)
    places = [folder / name for folder in above for name in (f"scheduler/{SCHEDULER}", SCHEDULER)]
    return next((file for file in places if file.is_file()), None)


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


def _schedule(about: dict[str, Any], path: Path) -> NoiseSchedule:
    """diffusers' betas, by its own code."""
    from diffusers import DDPMScheduler

    try:
        return NoiseSchedule.from_betas(DDPMScheduler.from_config(about).betas)
    except Exception as error:
        raise InputError(f"{path} tells no noise schedule: {error}") from error
