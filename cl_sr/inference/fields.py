"""Images that are too large for memory: tensors in files, walked over by blocks."""

from __future__ import annotations

import hashlib
import math
import mmap
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cl_sr.errors import InputError

IN_MEMORY = 48 * 2**20  # bytes: larger tensors are in files
SIDE = 512  # of blocks, about


class Fields:
    """Makes tensors: in memory while they are small, else in files that vanish with them.

    Args:
        device: of those in memory; those in files are on the CPU.
        folder: of the files; None: that of the system for temporary ones.
    """

    def __init__(self, device: torch.device, folder: Path | None = None) -> None:
        self._device = device
        self._folder = folder or Path(tempfile.gettempdir())
        self._maps: list[mmap.mmap] = []

    def new(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """A tensor of zeros.

        Raises:
            InputError: too little room on the disk.
        """
        size = math.prod(shape) * dtype.itemsize
        if size <= IN_MEMORY:
            return torch.zeros(*shape, dtype=dtype, device=self._device)
        try:
            with tempfile.TemporaryFile(dir=self._folder) as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)  # else a full disk is a SIGBUS
                else:
                    file.truncate(size)
                mapped = mmap.mmap(file.fileno(), size)
        except OSError as error:
            raise InputError(
                f"no room for {size / 2**30:.1f} GiB of an image that is being drawn in "
                f"{self._folder} ({error.strerror or error}): free some, or write to another disk"
            ) from error
        self._maps.append(mapped)
        return torch.frombuffer(mapped, dtype=dtype).view(*shape)

    def settle(self) -> None:
        """Give the memory back in which the system keeps what was touched of the files."""
        for mapped in self._maps:
            if hasattr(mmap, "MADV_DONTNEED"):
                mapped.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True)
class Block:
    """A part of an image.

    Attributes:
        number: of the block, from 0.
        top, left, bottom, right: its place, pixels; `bottom` and `right` are outside.
    """

    number: int
    top: int
    left: int
    bottom: int
    right: int

    def of(self, image: Tensor) -> Tensor:
        """What lies there of an image `(..., H, W)`: a view."""
        return image[..., self.top : self.bottom, self.left : self.right]

    def shrunk(self, scale: int) -> Block:
        """The same place in an image that is smaller by a whole number that divides it."""
        sides = (side // scale for side in (self.top, self.left, self.bottom, self.right))
        return Block(self.number, *sides)

    def around(self, margin: int, height: int, width: int) -> Block:
        """With so many pixels more on each side, where the image has them."""
        return Block(
            self.number,
            max(0, self.top - margin),
            max(0, self.left - margin),
            min(height, self.bottom + margin),
            min(width, self.right + margin),
        )

    def cut(self, height: int, width: int) -> Block:
        """Without what lies outside of an image."""
        return self.around(0, height, width)

    def within(self, outer: Block) -> Block:
        """The place of this block in what is cut out at another."""
        top, left = self.top - outer.top, self.left - outer.left
        return Block(
            self.number, top, left, top + self.bottom - self.top, left + self.right - self.left
        )


def blocks(height: int, width: int, multiple: int = 1) -> Iterator[Block]:
    """An image in blocks of about `SIDE` pixels, whose places are multiples of a number."""
    side = max(multiple, SIDE // multiple * multiple)
    number = 0
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield Block(number, top, left, min(height, top + side), min(width, left + side))
            number += 1


class BlockNoise:
    """Standard normal noise, again and again; a block's depends on the seed and its number alone.

    That of the first block is the noise of a small image of this seed (`cl_sr.diffusion.sample`).
    It is drawn on the CPU: every device gets the same.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._generators: dict[int, torch.Generator] = {}

    def __call__(self, block: Block, like: Tensor) -> Tensor:
        """The next noise of a block, like a tensor."""
        if block.number not in self._generators:
            self._generators[block.number] = torch.Generator().manual_seed(self._of(block.number))
        return torch.randn(like.shape, generator=self._generators[block.number]).to(like.device)

    def _of(self, number: int) -> int:
        if number == 0:
            return self._seed
        digest = hashlib.sha256(f"{self._seed} {number}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1
