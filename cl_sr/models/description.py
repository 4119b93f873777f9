"""What a checkpoint of ours says of itself, in its config.json: read without torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cl_sr.diffusion.sampling import Sampling
from cl_sr.errors import InputError
from cl_sr.files import read_json
from cl_sr.image_size import ImageSize, image_size

KIND = "cl-sr model"
OLD_KIND = "cl-sr SR3UNet"  # until November 2026: of what it was trained with, the scale alone
WEIGHTS, CONFIG = "model.safetensors", "config.json"
# What one of a run has beside them, that the run is resumed from, and the version of that.
TENSORS, VALUES, STATE_FORMAT = "training.safetensors", "training.json", 4
MEMORY = "memory.safetensors"  # what inference needs of a strategy, in what was exported


@dataclass(frozen=True)
class Description:
    """A checkpoint, beside its weights.

    Attributes:
        family, architecture: what the net is made of, see `cl_sr.models.family`.
        diffusion: of the parametrization: prediction, target, residual_scale.
        conditional: whether the net sees the low-resolution image; else it is a prior.
        steps: T of the schedule; None where an old checkpoint does not tell.
        scale: high over low resolution.
        degradation: name of what made the low-resolution images; None: not told.
        strategy: as in a configuration, a list of names with options; None: not told.
        domains: what was learnt, in order.
        iterations: of training, of all experiences.
        sampling: how its images were drawn for evaluation.
        precision: in which they were, `auto`, `fp32` or `bf16`; None: not told.
    """

    family: str
    architecture: Mapping[str, Any]
    diffusion: Mapping[str, Any]
    conditional: bool = True
    steps: int | None = None
    scale: int | None = None
    degradation: str | None = None
    strategy: list[Any] | None = None
    domains: list[str] = field(default_factory=list)
    iterations: int = 0
    sampling: Sampling | None = None
    precision: str | None = None

    @property
    def image_size(self) -> ImageSize | None:
        """H = W that it was trained at, or H and W, where its architecture tells."""
        try:
            return image_size(self.architecture["image_size"])
        except (KeyError, TypeError, ValueError):
            return None

    @property
    def channels(self) -> int:
        """Of images: 1 where they are grey."""
        return 1 if self.architecture.get("out_channel") == 1 else 3

    def to_json(self) -> dict[str, Any]:
        return {"kind": KIND, **asdict(self)}


def is_checkpoint(folder: Path) -> bool:
    """Whether there is what `read_description` reads, and weights beside it."""
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()


def read_description(folder: Path) -> Description:
    """What a folder of ours says.

    Raises:
        InputError: it is none of ours, or damaged.
    """
    values = read_json(folder / CONFIG)
    kind = values.pop("kind", None)
    try:
        if kind == OLD_KIND:
            unet, scale = values["unet"], values.get("scale")
            conditional = unet["in_channel"] != unet.get("out_channel", 3)
            return Description("sr3", unet, values["diffusion"], conditional, scale=scale)
        if kind != KIND:
            raise InputError(f"{folder} is not a cl-sr checkpoint: its config.json is another's")
        sampling = values.pop("sampling", None)
        found = Description(sampling=Sampling(**sampling) if sampling else None, **values)
        if not isinstance(found.family, str) or not isinstance(found.architecture, dict):
            raise TypeError("no family, or no architecture")
        for name in (found.family, *_names(found.strategy or [])):
            # A file beside weights that somebody sent is not to be run.
            if ".py" in name and not os.path.isabs(name):
                raise TypeError(f"{name} is no name and no absolute path")
        return found
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{folder} is not a cl-sr checkpoint: {type(error).__name__}: {error}"
        ) from error


def _names(strategy: list[Any]) -> list[str]:
    """Of strategies with options or without."""
    return [name for item in strategy for name in (item if isinstance(item, dict) else [item])]
