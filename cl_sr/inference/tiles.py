"""How pictures are cut into overlapping tiles, for nets that were trained at one size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tiles:
    """How a low-resolution image is cut.

    Attributes:
        height, width: of a tile, low-resolution pixels.
        overlap: that neighbours share at least, low-resolution pixels; at most half a side.
    """

    height: int
    width: int
    overlap: int

    def __post_init__(self) -> None:
        least = min(self.height, self.width)
        if least < 1 or not 0 <= 2 * self.overlap <= least:
            raise ValueError(
                f"tiles of {self.height}x{self.width} pixels that share {self.overlap}: they have "
                "at least 1, and share at most half"
            )

    def padded(self, height: int, width: int) -> tuple[int, int]:
        """What an image is made at least as large as: a tile each way, and what the net takes."""
        return max(height, self.height), max(width, self.width)

    def places(self, height: int, width: int) -> Iterator[tuple[int, int]]:
        """Top and left of the tiles that cover an image of that size."""
        return product(self.starts(height, self.height), self.starts(width, self.width))

    def count(self, height: int, width: int) -> int:
        """How many they are."""
        rows, columns = self.starts(height, self.height), self.starts(width, self.width)
        return len(rows) * len(columns)

    def starts(self, length: int, side: int) -> list[int]:
        """Where tiles begin that cover so many pixels, evenly spread; one where it is no longer."""
        left = length - side
        if left <= 0:
            return [0]
        count = math.ceil(left / (side - self.overlap))
        return [round(k * left / count) for k in range(count + 1)]

    def line(self, length: int, side: int, fine: int = 1) -> Tensor:
        """How much each pixel along a side of a tile counts, `(side * fine,)`.

        It rises along the overlap as a squared sine, so that the blend has no edge; where one tile
        covers the whole `length` there is nothing to blend, and all count 1.

        Args:
            length: of the image, low-resolution pixels.
            side: of the tile, too.
            fine: what is blended has so many pixels in one of them.
        """
        if length <= side:
            return torch.ones(side * fine)
        ramp = max(1, self.overlap * fine)
        place = torch.arange(side * fine, dtype=torch.float32) + 0.5
        near = torch.minimum(place, side * fine - place).clamp(max=ramp)
        return (near / ramp * math.pi / 2).sin().square()

    def total(self, length: int, side: int, fine: int = 1) -> Tensor:
        """The sum of what all tiles along an image count, for each of its pixels."""
        total, line = torch.zeros(max(length, side) * fine), self.line(length, side, fine)
        for start in self.starts(length, side):
            total[start * fine : (start + side) * fine] += line
        return total


def tiles_for(
    picture: tuple[int, int],
    trained: tuple[int, int] | None,
    step: int,
    tile: int | None = None,
    overlap: int | None = None,
) -> Tiles:
    """How a picture is cut for a net; all sizes are of low-resolution pixels, height first.

    Args:
        picture: its size.
        trained: the size that the net was trained at, where that is known.
        step: sides of what the net is given must be multiples of it.
        tile: side of the tiles; None: the size of training; 0: one tile takes the whole picture.
        overlap: that they share; None: a quarter of a tile.

    Raises:
        ValueError: the net cannot take such tiles.
    """
    height, width = (trained or (0, 0)) if tile is None else (tile, tile)
    if height == 0:
        return Tiles(-(-picture[0] // step) * step, -(-picture[1] // step) * step, 0)
    if min(height, width) < 0 or height % step or width % step:
        raise ValueError(f"tile={tile}: this net takes multiples of {step} pixels")
    return Tiles(height, width, min(height, width) // 4 if overlap is None else overlap)


def reflected(images: Tensor, height: int, width: int) -> Tensor:
    """Images `(..., h, w)` made at least so large by reflection at the bottom and the right."""
    rows, columns = (
        _mirror(length, max(length, wanted)).to(images.device)
        for length, wanted in zip(images.shape[-2:], (height, width), strict=True)
    )
    return images.index_select(-2, rows).index_select(-1, columns)


def _mirror(length: int, wanted: int) -> Tensor:
    """0, 1, ..., length - 1, length - 2, ..., 0, 1, ...: so many."""
    period = max(1, 2 * (length - 1))
    places = torch.arange(wanted) % period
    return torch.minimum(places, period - places) if length > 1 else torch.zeros_like(places)
