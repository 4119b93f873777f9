"""All that defines a run: sections of keys, each with its kind, default and meaning."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    SerializeAsAny,
    ValidationInfo,
    field_validator,
    model_validator,
)

from cl_sr.config.explain import checked
from cl_sr.degradations.registry import check_degradation
from cl_sr.diffusion.times import check_schedule
from cl_sr.errors import InputError
from cl_sr.image_size import sides, spelled
from cl_sr.models.family import DEFAULT, ModelKeys, find_family, shipped_families
from cl_sr.schema import (
    AbsolutePath,
    Count,
    Fraction,
    NameOrFile,
    NonNegative,
    Pixels,
    Positive,
    Rate,
    Section,
    Seed,
    Share,
    Size,
    Steps,
    absolute_file,
)
from cl_sr.strategies.choice import Choice
from cl_sr.strategies.registry import read_choices
from cl_sr.yaml_text import dump_yaml


class DataConfig(Section):
    """Where images come from and how low-resolution ones are made."""

    root: AbsolutePath | None = Field(None, description="folder with one folder a domain")
    folders: dict[str, AbsolutePath] = Field({}, description="the folder of single domains")
    size: Pixels = Field(32, description="of high-resolution images: H = W, or [H, W]")
    channels: Literal[1, 3] = Field(3, description="of images: 3, or 1 to make them grey")
    scale: Annotated[int, Field(ge=2, le=1024)] = Field(4, description="high over low resolution")
    kernel: Annotated[str, AfterValidator(check_degradation)] = Field(
        "bicubic", description="how low-resolution images are made: bicubic or area"
    )
    flip: bool = Field(True, description="mirror training images at random")
    split_seed: Seed = Field(0, description="seed of the 70/30 split")
    split: Literal["content", "random"] = Field(
        "content", description="random: by file, so that copies leak from training into testing"
    )
    shares: dict[str, Share] = Field(
        {}, description="of single domains' training images: how many of them to train on"
    )
    copies: Annotated[float, Field(ge=0, le=10)] = Field(
        0.0, description="extra copies of images, as a share of them: to study leaks"
    )
    standin_images: Annotated[int, Field(ge=8, le=10_000_000)] = Field(
        1000, description="drawn a domain"
    )
    memory_gb: NonNegative = Field(
        8.0, description="for a domain's training images; those beyond are read again"
    )

    @model_validator(mode="after")
    def _divides(self) -> DataConfig:
        both = sides(self.size)
        if any(side % self.scale for side in both):
            fitting = [math.ceil(max(side, 11) / self.scale) * self.scale for side in both]
            raise ValueError(
                f"data.scale={self.scale} does not divide data.size={spelled(self.size)}: take "
                f"data.size={spelled(fitting)}"
            )
        if min(both) < 11:
            raise ValueError(
                f"data.size={spelled(self.size)} is too small: SSIM needs at least 11 pixels"
            )
        return self


class DiffusionConfig(Section):
    """The noise schedule and the objective."""

    schedule: Literal["linear", "cosine", "init"] = Field(
        "linear", description="of the betas; init: that of the weights of --init"
    )
    steps: Steps = Field(2000, description="T")
    start: Annotated[float, Field(gt=0, lt=1)] = Field(1e-6, description="first beta (linear)")
    end: Annotated[float, Field(gt=0, lt=1)] = Field(1e-2, description="last beta (linear)")
    prediction: Literal["epsilon", "v", "x0"] = Field("epsilon", description="what the net answers")
    target: Literal["image", "residual"] = Field("image", description="what is diffused")
    residual_scale: Rate = Field(5.0, description="factor to about unit variance (residual)")
    loss: Literal["l2", "l1"] = Field("l2", description="mean error")

    def check(self) -> None:
        """Refuse numbers that make no noise schedule.

        Raises:
            ValueError: they make none.
        """
        if self.schedule != "init":
            check_schedule(self.schedule, self.steps, self.start, self.end)


class TrainConfig(Section):
    """Optimization."""

    iterations: Positive | tuple[Count, ...] = Field(
        10_000, description="of each experience: one number, or a list whose last one repeats"
    )
    batch_size: Size = Field(16, description="images")
    lr: Rate = Field(1e-4, description="learning rate of Adam")
    ema: Fraction = Field(0.9999, description="decay of the moving average; 0: none")
    clip: NonNegative = Field(1.0, description="largest norm of the gradient; 0: no limit")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto: bf16 autocast on CUDA devices that have it"
    )
    workers: Annotated[Count, Field(le=1024)] = Field(0, description="processes that load images")
    on_divergence: Literal["stop", "restart"] = Field(
        "stop", description="restart: from the last checkpoint at half the rate, 3 times at most"
    )


class EvalConfig(Section):
    """Evaluation on the test images of every domain."""

    every: Count = Field(1000, description="iterations; 0: only before and after experiences")
    images: Count = Field(64, description="of each domain; 0: no evaluation at all")
    split: Literal["test", "validation"] = Field(
        "test", description="validation: split the training side again, to choose options on"
    )
    batch_size: Size = Field(64, description="images")
    sampler: Literal["ancestral", "ddim", "dpmpp-2m", "unipc"] = Field(
        "ddim", description="see cl_sr.diffusion"
    )
    steps: Steps | None = Field(20, description="sampling steps; null: all T")
    eta: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="of ddim: 0 deterministic, 1 as ancestral"
    )
    seed: Seed = Field(0, description="of the first image's noise; the next has the next")
    draws: Annotated[int, Field(ge=1, le=10_000)] = Field(
        1, description="of each image, with other noise; its metrics are means of them"
    )
    metrics: tuple[str, ...] = Field(
        ("psnr", "ssim"), description="psnr, ssim, colour_error, sharpness, any metric of pyiqa"
    )
    protocol: Literal["rgb8", "y601"] = Field("rgb8", description="of PSNR and SSIM")
    samples: Count = Field(4, description="images of each domain shown in the report")

    @field_validator("metrics", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """`psnr,ssim,lpips` as well as a list; PSNR and SSIM are always there."""
        names = value.split(",") if isinstance(value, str) else value
        if not isinstance(names, list | tuple) or not all(isinstance(n, str) for n in names):
            return value
        return tuple(dict.fromkeys(["psnr", "ssim", *(n.strip() for n in names if n.strip())]))


class CheckpointConfig(Section):
    """What a run can be resumed from; those after each experience are always kept."""

    every: Count = Field(0, description="iterations between two; 0: not by iterations")
    minutes: NonNegative = Field(15.0, description="between two; 0: not by time")
    keep: Count = Field(2, description="newest ones within experiences that stay; 0: all")


class OtherKeys(ModelKeys, extra="allow"):
    """Of a family whose file is not to be imported, to read a run that somebody made."""


def _keys_of_family(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, ModelKeys):
        return value
    if not isinstance(value, Mapping):
        raise InputError(f"model={value!r:.60}: must hold keys and values")
    name = absolute_file(value.get("family", DEFAULT))
    if not isinstance(name, str):
        return ModelKeys(family=name)  # which refuses it
    reading = bool(info.context and info.context.get("reading"))
    if reading and name not in shipped_families():
        return OtherKeys(**value)
    return checked(find_family(name).keys, dict(value), "model.", info.context)


def _default_model() -> ModelKeys:
    return shipped_families()[DEFAULT].keys()


Strategies = Annotated[
    tuple[Choice, ...],
    BeforeValidator(read_choices),
    PlainSerializer(lambda choices: [choice.plain() for choice in choices]),
]


class RunConfig(Section):
    """All that defines a run."""

    stream: NameOrFile = Field("celeba-anime", description="a shipped stream or a file: ./mine.py")
    strategy: Strategies = Field(
        (Choice("finetune"),),
        description="a list of names with options; or text, name:option=value,..., joined by +",
    )
    init: AbsolutePath | None = Field(
        None, description="weights to start from; they bring their architecture and schedule"
    )
    seed: Seed = Field(0, description="of weights, noise and data order")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="where to run")
    data: DataConfig = DataConfig()
    model: Annotated[SerializeAsAny[ModelKeys], BeforeValidator(_keys_of_family)] = Field(
        default_factory=_default_model
    )
    diffusion: DiffusionConfig = DiffusionConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()

    @model_validator(mode="after")
    def _has_a_schedule(self) -> RunConfig:
        if self.diffusion.schedule == "init" and not self.init:
            raise ValueError("diffusion.schedule=init needs the weights that it is from: init=FILE")
        return self

    def to_yaml(self) -> str:
        """Complete, so that `cl-sr run --config` repeats the run."""
        return dump_yaml(self.model_dump(mode="json"))


def budgets(iterations: int | Sequence[int], count: int) -> list[int]:
    """The iterations of each of `count` experiences, from `train.iterations`: the last repeats."""
    given = [iterations] if isinstance(iterations, int) else list(iterations)
    return given + given[-1:] * (count - len(given))
