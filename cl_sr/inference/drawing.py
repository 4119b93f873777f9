"""An image of any size that is drawn jointly by overlapping tiles, in bounded memory.

At every sampling step each tile is answered for, and the answers are blended, as MultiDiffusion
(Bar-Tal et al., arXiv 2302.08113) and Mixture of Diffusers (arXiv 2302.02412) do. The noise is one
field over the whole image, so that there is no seam. All else of a step is done pixel by pixel, in
blocks; where an estimate is made to fit the input (DDNM), in blocks with a margin.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from cl_sr.degradations.pixels import to_floats
from cl_sr.diffusion.samplers import Kept, StepNoise
from cl_sr.inference.fields import Block, BlockNoise, Fields, blocks
from cl_sr.inference.tiles import Tiles
from cl_sr.zero_shot import Operator
from cl_sr.zero_shot.ddnm import fit

MARGIN = 16  # low-resolution pixels: a bicubic pseudo-inverse has faded to 1e-6 there

# answer(lr, condition): what answers the noise in tiles, `(noisy, level) -> noise`, of their
# low-resolution images, uint8, and conditions in [-1, 1].
Answer = Callable[[Tensor, Tensor], Callable[[Tensor, Any], Tensor]]
# move(block, y, noise, kept): what is diffused in a block after a step, and what to keep of it.
Move = Callable[[Block, Tensor, StepNoise, Kept], tuple[Tensor, Kept]]


@dataclass(frozen=True)
class Input:
    """A low-resolution image, and how it is cut.

    Attributes:
        lr: uint8 `(1, 3, h, w)`; at least a tile each way.
        condition: at the size of the high-resolution image, uint8 `(1, 3, H, W)`.
        scale: high over low resolution.
        tiles: how it is cut.
        size: its height and width before it was padded.
    """

    lr: Tensor
    condition: Tensor
    scale: int
    tiles: Tiles
    size: tuple[int, int]

    @property
    def height(self) -> int:
        return self.condition.shape[-2]

    @property
    def width(self) -> int:
        return self.condition.shape[-1]


class Drawing:
    """An image that is being drawn.

    Args:
        given: the input.
        shape: of what is diffused, `(1, C, ...)`.
        answer: see `Answer`.
        device: where it answers.
        seed: of the noise.
        batch: most tiles at a time.
        fields: makes its tensors.
        after_batch: called after each of `batches`, whenever all tiles are asked.

    Attributes:
        batches: how many there are.
        diffused: what it has come to.
        images: estimates of the clean image, once there are some.
    """

    def __init__(
        self,
        given: Input,
        shape: Sequence[int],
        answer: Answer,
        device: torch.device,
        seed: int,
        batch: int,
        fields: Fields,
        after_batch: Callable[[], None] = lambda: None,
    ) -> None:
        self.given = given
        self.diffused = fields.new(shape)
        self.images = torch.empty(0)
        self._answer, self._device, self._after_batch = answer, device, after_batch
        self._fields = fields
        self._sum = fields.new(shape)  # of the answers, each by its weight
        self._kept: list[Tensor] = []  # of the sampler
        self._noise = BlockNoise(seed)
        lr, tiles = given.lr, given.tiles
        # Of what is diffused, in a low-resolution pixel: a latent is coarser than an image.
        self._fine, rest = divmod(shape[-1], lr.shape[-1])
        if rest:
            raise ValueError("a low-resolution pixel is no whole number of what is diffused")
        self._latent = self._fine != given.scale
        self._batch = batch
        self.batches = -(-tiles.count(lr.shape[-2], lr.shape[-1]) // batch)
        sides = list(zip(lr.shape[-2:], (tiles.height, tiles.width), strict=True))
        rows, columns = (tiles.line(*side, self._fine) for side in sides)
        self._weights = (rows[:, None] * columns).to(self._sum.device)
        self._totals = [tiles.total(*side, self._fine).to(self._sum.device) for side in sides]
        for block in self.blocks():
            part = block.of(self.diffused)
            part.copy_(self._noise(block, part))

    def blocks(self) -> Iterator[Block]:
        """Of what is diffused; that of a latent is one, as it cannot be decoded in parts."""
        height, width = self.diffused.shape[-2:]
        multiple = max(height, width) if self._latent else self.given.scale
        for block in blocks(height, width, multiple):
            yield block
            self._fields.settle()

    def ask(self, level: Any) -> None:
        """Have all tiles answered for at a noise level, and blend the answers."""
        for block in self.blocks():
            block.of(self._sum).zero_()
        all_places = self.given.tiles.places(*self.given.lr.shape[-2:])
        while places := list(islice(all_places, self._batch)):
            lr = self._cut(self.given.lr, places, 1)
            condition = self._cut(self.given.condition, places, self.given.scale)
            noisy = self._cut(self.diffused, places, self._fine)
            answers = self._answer(lr, to_floats(condition))(noisy, level).to(self._sum.device)
            for place, answer in zip(places, answers, strict=True):
                self._tile(place, self._fine).of(self._sum)[0].add_(self._weights * answer)
            self._fields.settle()
            self._after_batch()

    def noise_in(self, block: Block) -> Tensor:
        """The blended answers for a block: the noise in what is diffused."""
        rows = self._totals[0][block.top : block.bottom, None]
        return block.of(self._sum) / (rows * self._totals[1][block.left : block.right])

    def condition_of(self, block: Block) -> Tensor:
        """What the low-resolution image is at the size of this block of the image, in [-1, 1]."""
        return to_floats(self.pixels(block).of(self.given.condition).to(self.diffused.device))

    def pixels(self, block: Block) -> Block:
        """Where a block of what is diffused lies in the image."""
        return Block(0, 0, 0, self.given.height, self.given.width) if self._latent else block

    def keep_images(self, image: Callable[[Block, Tensor], Tensor]) -> None:
        """Put estimates of the clean image by: `image(block, diffused)` of every block."""
        if not self.images.numel():
            self.images = self._fields.new(self.given.condition.shape)
        for block in self.blocks():
            part = image(block, block.of(self.diffused))
            self.pixels(block).of(self.images).copy_(part)

    def fitted(self, block: Block, operator: Operator, damping: float = 1.0) -> Tensor:
        """A block of `images`, made to fit the input: `fit` of it and what lies around it.

        What the input was padded by is left as it is: the result is cut back.
        """
        block = self.pixels(block)
        image = block.of(self.images).clone()
        for inner, outer, lr in self._to_fit(block):
            fitted = fit(outer.of(self.images), lr, operator, damping)
            inner.within(block).of(image).copy_(inner.within(outer).of(fitted))
        return image.to(self.diffused.device)

    def refit(self, operator: Operator) -> None:
        """Make `images` fit the input, and clamp them again."""
        for block in self.blocks():
            place = self.pixels(block)
            place.of(self.images).copy_(self.fitted(block, operator).clamp(-1, 1))

    def consistency(self, operator: Operator) -> float:
        """PSNR in dB between the input and the degraded `images`, capped at 100."""
        error, count, scale = 0.0, 0, self.given.scale
        for block in self.blocks():
            for inner, outer, lr in self._to_fit(self.pixels(block)):
                place = inner.within(outer).shrunk(scale)
                off = place.of(operator.down(outer.of(self.images)) - lr)
                error, count = error + float(off.double().square().sum()) / 4, count + off.numel()
        return min(100.0, -10 * math.log10(max(error / count, 1e-12)))

    def _to_fit(self, block: Block) -> Iterator[tuple[Block, Block, Tensor]]:
        """Of a block what is not padding, that with a margin, and the input there in [-1, 1]."""
        scale = self.given.scale
        height, width = (side * scale for side in self.given.size)
        inner = block.cut(height, width)
        if inner.top < inner.bottom and inner.left < inner.right:
            outer = inner.around(MARGIN * scale, height, width)
            yield (
                inner,
                outer,
                to_floats(outer.shrunk(scale).of(self.given.lr).to(self.images.device)),
            )

    def advance(self, move: Move) -> None:
        """Take a step of a sampler, block by block."""
        new: Kept = ()
        known = list(self._kept)
        for block in self.blocks():
            y = block.of(self.diffused)
            kept = tuple(block.of(field).clone() for field in known)
            after, new = move(block, y, partial(self._noise, block, y), kept)
            while len(self._kept) < len(new):
                self._kept.append(self._fields.new(self.diffused.shape))
            for field, value in zip(self._kept, new, strict=False):
                block.of(field).copy_(value)
            y.copy_(after)
        del self._kept[len(new) :]

    def _cut(self, whole: Tensor, places: list[tuple[int, int]], fine: int) -> Tensor:
        """The tiles of something that lies over the input, to where it is answered."""
        return torch.cat([self._tile(place, fine).of(whole) for place in places]).to(self._device)

    def _tile(self, place: tuple[int, int], fine: int) -> Block:
        (top, left), tiles = place, self.given.tiles
        bottom, right = top + tiles.height, left + tiles.width
        return Block(0, top * fine, left * fine, bottom * fine, right * fine)
