"""What an image domain is, and the domains that ship with the library."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cl_sr.errors import InputError

if TYPE_CHECKING:
    import numpy as np

DOMAIN_NAME = "[a-z0-9-]+"

# draw(size, seed): one uint8 RGB image (size, size, 3)
Draw = Callable[[int, int], "np.ndarray"]


@dataclass(frozen=True)
class Domain:
    """One kind of images.

    Attributes:
        name: lower-case words with hyphens; also the name of its folder under `--data`.
        summary: what it shows, in a few words.
        crop: `center`: the whole image, its shorter side resized to the model's size and the
            middle cut out (faces). `random`: a window of the model's size at the image's own
            resolution, drawn anew for training and fixed at the middle for testing (textures).
        standin: draws a procedural stand-in where no folder is given; None: a folder is needed.
    """

    name: str
    summary: str
    crop: Literal["center", "random"] = "center"
    standin: Draw | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(DOMAIN_NAME, self.name):
            raise InputError(
                f"domain name {self.name!r}: use lower-case letters, digits and hyphens alone"
            )


def _standin(name: str) -> Draw:
    def draw(size: int, seed: int) -> np.ndarray:
        from cl_sr.data.standins import draw  # numpy and Pillow, only where images are needed

        return draw(name, size, seed)

    return draw


CELEBA = Domain("celeba", "human faces (CelebA, CelebA-HQ, FFHQ)", "center", _standin("celeba"))
ANIMEF = Domain("animef", "anime faces (Anime Face data set)", "center", _standin("animef"))
DF2K_OST = Domain(
    "df2k-ost", "natural images (DIV2K, Flickr2K, OST)", "random", _standin("df2k-ost")
)
IMAGENET = Domain(
    "imagenet", "photographs of anything (ImageNet, any folder)", "center", _standin("df2k-ost")
)
