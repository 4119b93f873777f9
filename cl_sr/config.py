"""The configuration of a run: its schema, presets, overrides, and errors that help."""

from __future__ import annotations

import difflib
import os
import re
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from cl_sr.data.domains import DOMAIN_NAME
from cl_sr.errors import InputError, nearest

PRESETS = Path(__file__).parent / "configs"
DEFAULT_PRESET = "demo"


def _no_truth(value: Any) -> Any:
    """`yes` for a number is a mistake, though Python's True is 1."""
    if isinstance(value, bool):
        raise ValueError(f"{value} is not a number")
    return value


def _absolute(path: Any) -> Any:
    """So that config.yaml repeats the run from any folder."""
    if not isinstance(path, str) or not path:
        return path
    return os.path.abspath(os.path.expanduser(path))


def _joined(value: Any) -> Any:
    """Strategies that act together, as one text."""
    several = isinstance(value, list) and value and all(isinstance(v, str) for v in value)
    return "+".join(value) if several else value


def _absolute_file(name: Any) -> Any:
    """The same, where the name of something shipped may stand instead of a file."""
    return _absolute(name) if isinstance(name, str) and name.endswith(".py") else name


Count = Annotated[int, BeforeValidator(_no_truth), Field(ge=0)]
Seed = Annotated[int, BeforeValidator(_no_truth), Field(ge=0, lt=2**62)]
AbsolutePath = Annotated[str, BeforeValidator(_absolute), Field(min_length=1)]
Positive = Annotated[int, BeforeValidator(_no_truth), Field(ge=1)]
# Sizes of things that are made: numbers beyond these are slips that would fill the memory.
Size = Annotated[int, BeforeValidator(_no_truth), Field(ge=1, le=65_536)]
Depth = Annotated[int, BeforeValidator(_no_truth), Field(ge=1, le=64)]
Steps = Annotated[int, BeforeValidator(_no_truth), Field(ge=1, le=1_000_000)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, BeforeValidator(_no_truth), Field(gt=0, le=1)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Section(BaseModel):
    """Every key is known, and none changes after the check."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class DataConfig(Section):
    """Where images come from and how low-resolution ones are made."""

    root: AbsolutePath | None = Field(None, description="folder with one folder a domain")
    folders: dict[str, AbsolutePath] = Field({}, description="the folder of single domains")
    size: Size = Field(32, description="H = W of high-resolution images, pixels")
    scale: Annotated[int, Field(ge=2, le=1024)] = Field(4, description="high over low resolution")
    kernel: Literal["bicubic", "area"] = Field("bicubic", description="low-resolution kernel")
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
        if self.size % self.scale:
            raise ValueError(
                f"data.scale={self.scale} does not divide data.size={self.size}: "
                f"choose one of {[s for s in range(2, self.size + 1) if self.size % s == 0][:6]}"
            )
        if self.size < 11:
            raise ValueError(f"data.size={self.size} is too small: SSIM needs at least 11 pixels")
        return self


class ModelConfig(Section):
    """The U-Net; names and meaning as in `cl_sr.models.SR3UNet`."""

    inner_channel: Size = Field(64, description="channels at full resolution")
    channel_mults: tuple[Depth, ...] = Field(
        (1, 2, 4, 8, 8), description="of each resolution", min_length=1, max_length=16
    )
    attn_res: tuple[Positive, ...] = Field((16,), description="resolutions with self-attention")
    res_blocks: Depth = Field(2, description="residual blocks a resolution")
    norm_groups: Size = Field(32, description="of group norm")
    dropout: Fraction = Field(0.0, description="in the residual blocks")


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
    workers: Annotated[int, BeforeValidator(_no_truth), Field(ge=0, le=1024)] = Field(
        0, description="processes that load images"
    )
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


class RunConfig(Section):
    """All that defines a run."""

    stream: Annotated[str, BeforeValidator(_absolute_file)] = Field(
        "celeba-anime", description="a shipped stream or a file: ./mine.py"
    )
    strategy: Annotated[str, BeforeValidator(_joined)] = Field(
        "finetune", description="name:option=value,...; several: a list, or joined by +"
    )
    init: AbsolutePath | None = Field(
        None, description="weights to start from; they bring their architecture and schedule"
    )
    seed: Seed = Field(0, description="of weights, noise and data order")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="where to run")
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
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
        values = self.model_dump(mode="json")
        return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def budgets(iterations: int | Sequence[int], count: int) -> list[int]:
    """The iterations of each of `count` experiences, from `train.iterations`: the last repeats."""
    given = [iterations] if isinstance(iterations, int) else list(iterations)
    return given + given[-1:] * (count - len(given))


def pick(values: Any, key: str) -> Any:
    """What stands at `section.key` in nested values; None where there is no such place."""
    for part in key.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def presets() -> dict[str, str]:
    """The shipped presets of runs, each with the first line of its comment."""
    return _shipped(sweeps=False)


def shipped_sweeps() -> dict[str, str]:
    """The shipped sweeps, each with the first line of its comment."""
    return _shipped(sweeps=True)


def _shipped(sweeps: bool) -> dict[str, str]:
    found = {}
    for path in sorted(PRESETS.rglob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        if sweeps == bool(re.search("^grid:", text, re.MULTILINE)):
            name = path.relative_to(PRESETS).with_suffix("").as_posix()
            found[name] = text.split("\n", 1)[0].lstrip("# ").strip()
    return found


def read_preset(name: str) -> dict[str, Any]:
    """A shipped preset of a run by name."""
    if name in shipped_sweeps():
        raise InputError(f"preset {name!r} is a sweep of many runs: cl-sr sweep {name}")
    if name not in presets():
        raise InputError(f"unknown preset {name!r}: {nearest(name, presets())}")
    return read_yaml(PRESETS / f"{name}.yaml")


class _NoAliases(yaml.SafeLoader):
    """YAML without aliases, a few bytes of which can stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not taken: write the value out")
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    """Writes what `_NoAliases` reads."""


# As in YAML 1.2: 1e-3 is a number without a point, too. PyYAML's 1.1 takes it for text.
for side in (_NoAliases, _Dumper):
    side.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
        list("-+.0123456789"),
    )


def parse_yaml(text: str) -> Any:
    """Numbers, text, lists and mappings from YAML.

    Raises:
        ValueError: it is none, or nested too deeply.
    """
    try:
        return yaml.load(text, _NoAliases)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def read_yaml(path: Path) -> dict[str, Any]:
    """A configuration file as a mapping."""
    try:
        values = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold keys and values, such as seed: 0")
    return values


def resolve(values: Mapping[str, Any], overrides: Sequence[str] = ()) -> RunConfig:
    """Check a configuration with `key=value` overrides put over it.

    Raises:
        InputError: an unknown key (with the nearest valid one), or a wrong type or value.
    """
    try:
        merged = _copy(values)
    except RecursionError as error:
        raise InputError("the configuration is nested too deeply, or contains itself") from error
    for item in overrides:
        put(merged, *split_override(item))
    try:
        return RunConfig.model_validate(merged)
    except ValidationError as error:
        raise InputError(_explain(error)) from error


def put_data(values: dict[str, Any], data: Sequence[str], own: bool) -> None:
    """Put `--data` or $CL_SR_DATA over the configuration's folders; with `own` it may have some."""
    if not data:
        if own or not os.environ.get("CL_SR_DATA"):
            return
        data = (os.environ["CL_SR_DATA"],)
    root, folders = None, {}
    for item in data:
        name, equals, path = item.partition("=")
        if equals and re.fullmatch(DOMAIN_NAME, name):
            folders[name] = path
        elif root is None:
            root = item
        else:
            raise InputError(f"--data {item}: a second folder for all domains; use DOMAIN=DIR")
    section = values.setdefault("data", {})
    if not isinstance(section, dict):
        raise InputError("data must hold keys and values")
    section |= {"root": root, "folders": folders}


def arguments(items: Iterable[str]) -> dict[str, Any]:
    """Python arguments from `KEY=VALUE`, values in YAML.

    Raises:
        InputError: an item that is none.
    """
    found = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key.isidentifier() or key in ("path", "schedule"):
            raise InputError(f"{item!r} is not KEY=VALUE, such as num_head_channels=16")
        try:
            found[key] = parse_yaml(value)
        except ValueError as error:
            raise InputError(f"{item}: not a YAML value") from error
    return found


def _copy(values: Any) -> Any:
    return {k: _copy(v) for k, v in values.items()} if isinstance(values, Mapping) else values


def split_override(item: str) -> tuple[str, Any]:
    """The key and the value of a `key=value` of the command line.

    Raises:
        InputError: it is none.
    """
    key, equals, text = item.partition("=")
    if not equals or not key:
        raise InputError(f"{item!r} is not key=value, such as train.iterations=500")
    check_key(key)
    try:
        return key, parse_yaml(text)
    except ValueError as error:
        raise InputError(f"{key}={text}: not a YAML value") from error


def check_key(key: str) -> None:
    """Refuse a key that no configuration has.

    Raises:
        InputError: with the nearest one.
    """
    of_domain = re.fullmatch(rf"data\.(folders|shares)\.{DOMAIN_NAME}", key)
    if key not in dict(keys()) and not of_domain:
        raise InputError(f"unknown key {key!r}: {_nearest_key(key)}")


def put(values: dict[str, Any], key: str, value: Any) -> None:
    """Set `section.key` in nested values.

    Raises:
        InputError: there is no such key, or a section holds something else.
    """
    check_key(key)
    *sections, last = key.split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise InputError(f"{section} must hold keys and values")
        values = inner
    values[last] = value


def keys(model: type[BaseModel] = RunConfig, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key with its field (annotation, default, description), as `section.key`."""
    for name, info in model.model_fields.items():
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from keys(annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, info


def _nearest_key(key: str) -> str:
    known = [name for name, _ in keys()]
    # `iterations` should find `train.iterations`.
    same_end = [name for name in known if name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
    match = same_end or difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if match:
        return f"did you mean {match[0]!r}?"
    return "`cl-sr list keys` shows all"


def _explain(error: ValidationError) -> str:
    """The first thing wrong, in one line."""
    first = error.errors()[0]
    leaves = dict(keys())
    where = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        key = ".".join(where)
        return f"unknown key {key!r}: {_nearest_key(key)}"
    # Members of a list or a union add their number or type to the location.
    while len(where) > 1 and ".".join(where) not in leaves:
        where.pop()
    key = ".".join(where)
    message = first["msg"].removeprefix("Value error, ")
    if key not in leaves and first["type"] == "value_error":
        return message  # of a whole section, and names its keys
    # A union tries its members in turn; the first one's complaint is not the whole truth.
    if key in leaves and typing.get_args(leaves[key].annotation):
        message = "has the wrong type or value"
    shown = repr(first["input"])
    shown = shown if len(shown) <= 60 else shown[:60] + "..."
    return f"{key}={shown}: {message[:1].lower()}{message[1:]} (`cl-sr list keys` tells each key)"
