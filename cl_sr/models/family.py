"""Families of models by name: shipped ones, those of installed packages, those of a file.

A family is one file with one `Family` in it, such as `families/sr3.py`. Yours is given as
`model.family=./mine.py`, or brought by a package as an entry point `cl_sr.families`; its keys then
stand under `model` like those of SR3:

    class Keys(ModelKeys):
        width: Size = Field(16, description="channels")

    def architecture(keys, image_size, conditional):   # of JSON values; ValueError: it cannot be
        return {"width": keys.width}

    def model(architecture, **shared):                 # with random weights
        return Model(net=MyNet(**architecture), architecture=architecture, **shared)

    family = Family("mine", Keys, architecture, model)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from cl_sr.image_size import ImageSize
from cl_sr.plugins import find, shipped
from cl_sr.schema import NameOrFile, Section

if TYPE_CHECKING:
    from cl_sr.models.model import Model

DEFAULT = "sr3"
GROUP = "cl_sr.families"


class ModelKeys(Section):
    """What stands under `model` in a configuration; a family adds its own keys."""

    family: NameOrFile = Field(DEFAULT, description="of the model: a name or a file, ./mine.py")


@dataclass(frozen=True)
class Family:
    """A kind of model.

    Files of shipped families import torch inside their functions, so that a configuration is
    checked before it is there.

    Attributes:
        name: in configurations and checkpoints; of one's own file, its path takes its place.
        keys: its keys of a configuration.
        architecture: `(keys, image_size, conditional)` to the arguments of the net, of JSON
            values; `image_size` is H = W, or H and W where they differ. Raises ValueError where
            they make none. A family that makes nets for grey images takes a fourth, `channels`,
            3 or 1, and its nets have the attribute `channels`.
        model: `(architecture, **shared)` to a `Model` with random weights, from torch's global
            generator; `shared` is what every model has: `schedule`, `parametrization`,
            `conditional`, `scale`, `family`, `title`.
    """

    name: str
    keys: type[ModelKeys]
    architecture: Callable[..., dict[str, Any]]
    model: Callable[..., Model]

    @property
    def title(self) -> str:
        """What its models are called."""
        return self.name.upper() if self.name == DEFAULT else self.name

    def arguments(
        self, keys: ModelKeys, image_size: ImageSize, conditional: bool, channels: int
    ) -> dict[str, Any]:
        """What `architecture` answers.

        Raises:
            ValueError: there is no such net.
        """
        if "channels" in signature(self.architecture).parameters:
            return self.architecture(keys, image_size, conditional, channels=channels)
        if channels != 3:
            raise ValueError(f"the family {self.name} makes none for data.channels={channels}")
        return self.architecture(keys, image_size, conditional)

    def keys_of(self, architecture: Mapping[str, Any]) -> dict[str, Any]:
        """The keys of a configuration that an architecture answers to."""
        return {name: architecture[name] for name in self.keys.model_fields if name in architecture}


def shipped_families() -> dict[str, Family]:
    """The families of the folder `families`, by name."""
    modules = shipped("cl_sr.models.families", Path(__file__).parent / "families")
    return {module.family.name: module.family for module in modules}


def find_family(name: str) -> Family:
    """A shipped family by its name, one of an installed package, or the one in a file `path.py`.

    Raises:
        InputError: no such family; or the file has none.
    """
    public = "cl_sr.models.family.Family"
    return find(name, "family", Family, public, shipped_families, GROUP, "./mine.py")
