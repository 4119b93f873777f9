"""Pictures as people have them, and what a net is shown of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from cl_sr.data.folder import of_8_bit, picture_of
from cl_sr.inference.fields import Block


@dataclass(frozen=True)
class Rest:
    """What of a picture no net sees.

    Attributes:
        grey: whether it has no colours.
        alpha: its transparency, `L`; None: it has none.
        profile: its ICC profile; None: it has none.
    """

    grey: bool
    alpha: Image.Image | None
    profile: bytes | None

    @property
    def channels(self) -> int:
        """Of the whole picture."""
        return (1 if self.grey else 3) + (self.alpha is not None)


def opened(picture: Image.Image, channels: int = 3) -> tuple[np.ndarray, Rest]:
    """A picture's colours, uint8 `(3, h, w)`, turned as its EXIF orientation says; and the rest.

    With `channels=1` they are made grey, `(1, h, w)`.
    """
    profile = picture.info.get("icc_profile")
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I") or upright.mode == "F":
        upright = Image.fromarray(of_8_bit(upright, 1.0 if upright.mode == "F" else 65535))
    transparent = upright.has_transparency_data
    if transparent:
        upright = upright.convert("LA" if upright.mode in ("L", "LA", "La", "1") else "RGBA")
    alpha = upright.getchannel("A") if transparent else None
    grey = channels == 1 or upright.mode in ("1", "L", "LA")
    kept = ("1", "L", "LA") if channels == 1 else ("1", "L", "LA", "RGB", "RGBA", "P")
    if upright.mode not in kept:
        profile = None  # of other colours than what comes out
    pixels = np.asarray(upright.convert("L" if grey else "RGB"))
    colours = np.repeat(pixels[None], channels, 0) if grey else pixels.transpose(2, 0, 1)
    return np.array(colours, order="C"), Rest(grey, alpha, profile)


def composed(colours: Tensor, rest: Rest, place: Block, scale: int) -> Tensor:
    """A block of a picture, uint8 `(h, w, C)`, with the rest of the one that it was made from.

    Args:
        colours: of the block, uint8 `(3, h, w)`, or `(1, h, w)`: grey.
        rest: what no net has seen of the whole picture.
        place: of the block, in the large picture.
        scale: large over small.
    """
    picture = picture_of(np.ascontiguousarray(colours.permute(1, 2, 0).numpy()))
    if rest.grey:
        picture = picture.convert("L")
    if rest.alpha is not None:
        small = place.shrunk(scale)
        box = (small.left, small.top, small.right, small.bottom)
        picture.putalpha(rest.alpha.resize(picture.size, Image.Resampling.BICUBIC, box))
    return torch.from_numpy(np.array(picture)).view(*colours.shape[1:], rest.channels)
