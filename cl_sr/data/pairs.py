"""Pairs of low and high resolution as PyTorch data sets.

A sample is `(packed, domain)`: `packed` is uint8 `(6, H, W)`, the upsampled low-resolution image
over the high-resolution one, so that everything that Avalanche passes on to a model is one tensor;
`domain` is the domain's number in its stream. Pixels stay 8-bit until they are on the device, and
low-resolution images are made on access, so that memory holds each image once.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cl_sr.data.prepare import DomainData, prepared_pixels
from cl_sr.data.resize import Kernel, downsample, upsample


def pack(images: Tensor, scale: int, kernel: Kernel) -> Tensor:
    """uint8 `(B, 3, H, W)` to `(B, 6, H, W)`: condition, then image."""
    return torch.cat([upsample(downsample(images, scale, kernel), scale), images], dim=1)


def unpack(packed: Tensor) -> tuple[Tensor, Tensor]:
    """uint8 `(B, 6, H, W)` to the condition and the image, float `(B, 3, H, W)` in [-1, 1]."""
    condition, image = (packed.float() / 127.5 - 1).chunk(2, dim=1)
    return condition, image


class TrainingPairs(Dataset[tuple[Tensor, int]]):
    """The training side of a domain, cropped as the domain asks for.

    Random crops and mirroring are drawn anew at each access, from torch's global generator.
    """

    def __init__(
        self, data: DomainData, domain: int, scale: int, kernel: Kernel, flip: bool
    ) -> None:
        self.data = data
        self.domain = domain
        self.scale = scale
        self.kernel: Kernel = kernel
        self.flip = flip

    def __len__(self) -> int:
        return len(self.data.train)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        size = self.data.size
        pixels = prepared_pixels(self.data.train[index], self.data.domain, size)
        if self.data.domain.crop == "random":
            top = int(torch.randint(pixels.shape[0] - size + 1, ()))
            left = int(torch.randint(pixels.shape[1] - size + 1, ()))
            pixels = pixels[top : top + size, left : left + size]
        image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        packed = pack(image[None], self.scale, self.kernel)[0]
        if self.flip and torch.rand(()) < 0.5:
            packed = packed.flip(-1)
        return packed, self.domain


class TestPairs(Dataset[tuple[Tensor, int]]):
    """The first `images` of a domain's test side, whose order is a seeded random one."""

    __test__ = False  # its name is not a test's

    def __init__(
        self, data: DomainData, domain: int, scale: int, kernel: Kernel, images: int
    ) -> None:
        self.images = data.test[:images]
        self.domain = domain
        self.scale = scale
        self.kernel: Kernel = kernel

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return pack(self.images[index : index + 1], self.scale, self.kernel)[0], self.domain
