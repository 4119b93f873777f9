"""Pairs of low and high resolution as PyTorch data sets.

A sample is `(packed, domain)`: `packed` is uint8 `(6, H, W)`, the upsampled low-resolution image
over the high-resolution one, so that everything that Avalanche passes on to a model is one tensor;
`domain` is the domain's number in its stream. Pixels stay 8-bit until they are on the device.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cl_sr.data.folder import ImageFile, read_rgb
from cl_sr.data.prepare import DomainData
from cl_sr.data.resize import Kernel, downsample, upsample


def pack(images: Tensor, scale: int, kernel: Kernel) -> Tensor:
    """uint8 `(B, 3, H, W)` to `(B, 6, H, W)`: condition, then image."""
    return torch.cat([upsample(downsample(images, scale, kernel), scale), images], dim=1)


def unpack(packed: Tensor) -> tuple[Tensor, Tensor]:
    """uint8 `(B, 6, H, W)` to the condition and the image, float `(B, 3, H, W)` in [-1, 1]."""
    condition, image = (packed.float() / 127.5 - 1).chunk(2, dim=1)
    return condition, image


class FixedPairs(Dataset[tuple[Tensor, int]]):
    """Pairs of images that are used whole; `flip` mirrors every other one at random."""

    def __init__(
        self, images: Tensor, domain: int, scale: int, kernel: Kernel, flip: bool = False
    ) -> None:
        self.packed = torch.cat([pack(part, scale, kernel) for part in images.split(256)])
        self.domain = domain
        self.flip = flip

    def __len__(self) -> int:
        return len(self.packed)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        packed = self.packed[index]
        return (_mirror(packed) if self.flip else packed), self.domain


class CroppedPairs(Dataset[tuple[Tensor, int]]):
    """Pairs of random crops, drawn anew at each access from torch's global generator."""

    def __init__(
        self,
        files: list[ImageFile],
        size: int,
        domain: int,
        scale: int,
        kernel: Kernel,
        flip: bool = False,
    ) -> None:
        self.files = files
        self.size = size
        self.domain = domain
        self.scale = scale
        self.kernel: Kernel = kernel
        self.flip = flip

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        file = self.files[index]
        pixels = read_rgb(Path(file.path)) if file.pixels is None else file.pixels
        top = int(torch.randint(pixels.shape[0] - self.size + 1, ()))
        left = int(torch.randint(pixels.shape[1] - self.size + 1, ()))
        crop = pixels[top : top + self.size, left : left + self.size]
        image = torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1)))
        packed = pack(image[None], self.scale, self.kernel)[0]
        return (_mirror(packed) if self.flip else packed), self.domain


def _mirror(packed: Tensor) -> Tensor:
    return packed.flip(-1) if torch.rand(()) < 0.5 else packed


def training_pairs(
    data: DomainData, domain: int, scale: int, kernel: Kernel, flip: bool
) -> FixedPairs | CroppedPairs:
    """The training side of a domain, cropped as the domain asks for."""
    if data.domain.crop == "random":
        return CroppedPairs(data.train, data.size, domain, scale, kernel, flip)
    pixels = np.stack([file.pixels for file in data.train if file.pixels is not None])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    return FixedPairs(images, domain, scale, kernel, flip)


def test_pairs(
    data: DomainData, domain: int, scale: int, kernel: Kernel, images: int
) -> FixedPairs:
    """The first `images` of the test side; their order is a seeded random one."""
    return FixedPairs(data.test[:images], domain, scale, kernel)


test_pairs.__test__ = False  # type: ignore[attr-defined]  # its name is not a test's
