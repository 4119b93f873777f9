"""Images of any size by a net of one size: overlapping tiles, drawn jointly.

At every sampling step each tile is answered for, and the answers are blended, as MultiDiffusion
(Bar-Tal et al., arXiv 2302.08113) and Mixture of Diffusers (arXiv 2302.02412) do. The noise is one
field over the whole image, so that there is no seam.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from cl_sr.models.model import Model, Net


@dataclass(frozen=True)
class Tiles:
    """How a low-resolution image is cut.

    Attributes:
        side: H = W of a tile, low-resolution pixels.
        overlap: that neighbours share at least, low-resolution pixels; at most half a side.
    """

    side: int
    overlap: int

    def __post_init__(self) -> None:
        if self.side < 1 or not 0 <= 2 * self.overlap <= self.side:
            raise ValueError(
                f"tiles of {self.side} pixels that share {self.overlap}: they have at least 1, and "
                "share at most half"
            )

    def starts(self, length: int) -> list[int]:
        """Where tiles begin that cover so many pixels, evenly spread; one where it is no longer."""
        left = length - self.side
        if left <= 0:
            return [0]
        count = math.ceil(left / (self.side - self.overlap))
        return [round(k * left / count) for k in range(count + 1)]

    def weights(self, size: int) -> Tensor:
        """How much each pixel of a tile of `size` pixels counts, `(size, size)`.

        It rises along the overlap as a squared sine, so that the blend has no edge.
        """
        ramp = max(1, size * self.overlap // self.side)
        place = torch.arange(size, dtype=torch.float32) + 0.5
        near = torch.minimum(place, size - place).clamp(max=ramp)
        line = (near / ramp * math.pi / 2).sin().square()
        return line[:, None] * line


def step_of(model: Model, scale: int) -> int:
    """Sides of low-resolution images must be multiples of it, for the net to take them."""
    return model.multiple // math.gcd(model.multiple, scale)


def tiles_for(model: Model, scale: int, tile: int | None, overlap: int | None) -> Tiles | None:
    """How pictures are cut for a net; None: they are not.

    Args:
        model: whose net it is.
        scale: high over low resolution.
        tile: side of the tiles; None: what the model was trained at, where it tells; 0: none.
        overlap: that they share; None: a quarter of a tile.

    Raises:
        ValueError: the net cannot take such tiles.
    """
    if tile is None:
        tile = model.architecture.get("image_size", 0) // scale
    if tile == 0:
        return None
    if tile < 0 or tile % step_of(model, scale):
        raise ValueError(f"tile={tile}: this net takes multiples of {step_of(model, scale)} pixels")
    return Tiles(tile, tile // 4 if overlap is None else overlap)


class TiledDenoiser:
    """Answers for one large image, tile by tile: as samplers call it.

    Args:
        model: that answers.
        denoiser: makes what answers for tiles, of their low-resolution images and conditions.
        lr: uint8 `(1, 3, h, w)`, on the device; at least a tile each way.
        condition: at the size of the high-resolution image, `(1, 3, H, W)` in [-1, 1].
        tiles: how it is cut.
        batch: most tiles at a time.
        after_batch: called after each of `batches`, at every call.

    Attributes:
        condition: as above.
        batches: how many there are.
    """

    def __init__(
        self,
        model: Model,
        denoiser: Callable[[Tensor, Tensor], Net],
        lr: Tensor,
        condition: Tensor,
        tiles: Tiles,
        batch: int,
        after_batch: Callable[[], None],
    ) -> None:
        self.condition = condition
        self._model = model
        self._denoiser = denoiser
        self._lr = lr
        self._tiles = tiles
        places = list(product(*(tiles.starts(length) for length in lr.shape[-2:])))
        self._places = [places[k : k + batch] for k in range(0, len(places), batch)]
        self.batches = len(self._places)
        self._after_batch = after_batch

    def __call__(self, noisy: Tensor, condition: Tensor | None, level: Tensor) -> Tensor:
        """The noise in `noisy`, `(1, C, ...)`, at `level` `(1,)`; `condition` is not looked at."""
        # Of what is diffused, in a low-resolution pixel: a latent is coarser than an image.
        fine, rest = divmod(noisy.shape[-1], self._lr.shape[-1])
        if rest:
            raise ValueError("a low-resolution pixel is no whole number of what is diffused")
        size = self._tiles.side * fine
        weights = self._tiles.weights(size).to(noisy)
        total, sum_of_weights = torch.zeros_like(noisy), torch.zeros_like(noisy[:, :1])
        for places in self._places:
            lr, shown = self._cut(self._lr, places), self._cut(self.condition, places)
            part = self._cut(noisy, places)
            answers = self._denoiser(lr, shown)(part, None, level.expand(len(places)))
            for (y, x), answer in zip(places, answers, strict=True):
                rows, columns = (slice(at * fine, at * fine + size) for at in (y, x))
                total[0, :, rows, columns] += weights * answer
                sum_of_weights[0, :, rows, columns] += weights
            self._after_batch()
        return total / sum_of_weights

    def encode(self, image: Tensor, condition: Tensor | None) -> Tensor:
        return self._model.encode(image, self.condition)

    def decode(self, diffused: Tensor, condition: Tensor | None) -> Tensor:
        return self._model.decode(diffused, self.condition)

    def _cut(self, whole: Tensor, places: list[tuple[int, ...]]) -> Tensor:
        """The tiles of something that lies over the low-resolution image."""
        fine = whole.shape[-1] // self._lr.shape[-1]
        side = self._tiles.side * fine
        parts = [
            whole[..., y * fine : y * fine + side, x * fine : x * fine + side] for y, x in places
        ]
        return torch.cat(parts)


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
