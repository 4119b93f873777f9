"""What sections of a configuration are made of: kinds of numbers and paths, for pydantic."""

from __future__ import annotations

import os
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from cl_sr.image_size import image_size


def _no_truth(value: Any) -> Any:
    """`yes` for a number is a mistake, though Python's True is 1."""
    if isinstance(value, bool):
        raise ValueError(f"{value} is not a number")
    return value


def absolute(path: Any) -> Any:
    """So that config.yaml repeats the run from any folder."""
    if not isinstance(path, str) or not path:
        return path
    return os.path.abspath(os.path.expanduser(path))


def absolute_file(name: Any) -> Any:
    """The same, where the name of something shipped may stand instead of a Python file."""
    return absolute(name) if isinstance(name, str) and name.endswith(".py") else name


Count = Annotated[int, BeforeValidator(_no_truth), Field(ge=0)]
Seed = Annotated[int, BeforeValidator(_no_truth), Field(ge=0, lt=2**62)]
AbsolutePath = Annotated[str, BeforeValidator(absolute), Field(min_length=1)]
NameOrFile = Annotated[str, BeforeValidator(absolute_file)]
Positive = Annotated[int, BeforeValidator(_no_truth), Field(ge=1)]
# Sizes of things that are made: numbers beyond these are slips that would fill the memory.
Size = Annotated[int, BeforeValidator(_no_truth), Field(ge=1, le=65_536)]
Pixels = Annotated[Size | tuple[Size, Size], AfterValidator(image_size)]
Depth = Annotated[int, BeforeValidator(_no_truth), Field(ge=1, le=64)]
Steps = Annotated[int, BeforeValidator(_no_truth), Field(ge=1, le=1_000_000)]
Rate = Annotated[float, BeforeValidator(_no_truth), Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, BeforeValidator(_no_truth), Field(ge=0, lt=1)]
Share = Annotated[float, BeforeValidator(_no_truth), Field(gt=0, le=1)]
NonNegative = Annotated[float, BeforeValidator(_no_truth), Field(ge=0, allow_inf_nan=False)]


class Section(BaseModel):
    """Every key is known, and none changes after the check."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
