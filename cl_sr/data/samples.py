"""Samples: a low-resolution image travels with the high-resolution one that it was made from.

Everything that Avalanche passes on to a model is one tensor. So a sample of a data set is
`(packed, domain)`: `packed` is uint8 `(P, H, W)`, the high-resolution image and, in as many further
channels as it fills, the low-resolution one; `domain` is the domain's number in its stream. Only
this file knows how they are packed. Pixels stay 8-bit until they are on the device, and
low-resolution images are made on access, so that memory holds each image once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from cl_sr.data.order import derived_seed
from cl_sr.data.prepare import DomainData, prepared_pixels
from cl_sr.degradations import Degradation


@dataclass(frozen=True)
class Samples:
    """A batch of images.

    Attributes:
        lr: the low-resolution images, uint8 `(B, 3, h, w)`; grey ones have one channel.
        hr: the high-resolution ones, uint8 `(B, 3, H, W)`, or one channel.
    """

    lr: Tensor
    hr: Tensor

    def __len__(self) -> int:
        return len(self.hr)

    def __getitem__(self, rows: Any) -> Samples:
        """Those of some rows: a slice, a mask, or a tensor of numbers."""
        return Samples(self.lr[rows], self.hr[rows])

    def to(self, device: torch.device | str) -> Samples:
        return Samples(self.lr.to(device), self.hr.to(device))

    def mirrored(self, rows: Tensor | None = None) -> Samples:
        """With all images flipped from left to right, or those where `rows` `(B,)` is true."""
        if rows is None:
            return Samples(self.lr.flip(-1), self.hr.flip(-1))
        lr, hr = self.lr.clone(), self.hr.clone()
        lr[rows], hr[rows] = lr[rows].flip(-1), hr[rows].flip(-1)
        return Samples(lr, hr)

    def packed(self) -> Tensor:
        """As one tensor, uint8 `(B, P, H, W)`."""
        count, _, height, width = self.hr.shape
        flat = self.lr.flatten(1)
        plane = height * width
        channels = -(-flat.shape[1] // plane)
        padded = F.pad(flat, (0, channels * plane - flat.shape[1]))
        return torch.cat([self.hr, padded.view(count, channels, height, width)], dim=1)

    @classmethod
    def unpack(cls, packed: Tensor, scale: int) -> Samples:
        """The inverse of `packed`, for low-resolution images smaller by `scale`."""
        height, width = packed.shape[-2] // scale, packed.shape[-1] // scale
        # The only number of channels with which so many planes are filled.
        planes = packed.shape[1]
        channels = next(c for c in range(1, planes) if c - (-c // scale**2) == planes)
        flat = packed[:, channels:].flatten(1)[:, : channels * height * width]
        return cls(flat.reshape(-1, channels, height, width), packed[:, :channels])

    @classmethod
    def join(cls, batches: Sequence[Samples]) -> Samples:
        """Several batches, one after the other."""
        return cls(torch.cat([b.lr for b in batches]), torch.cat([b.hr for b in batches]))


class TrainingSamples(Dataset[tuple[Tensor, int]]):
    """The training side of a domain, cropped as the domain asks for.

    Random crops, mirroring and what is random in the degradation are drawn anew at each access,
    from torch's global generator. It goes to the processes that load images, so it holds no more
    of the domain than they need, and nothing that draws.
    """

    def __init__(self, data: DomainData, domain: int, degradation: Degradation, flip: bool) -> None:
        self.files = data.train
        self.crop = data.domain.crop
        self.size = data.size
        self.channels = data.channels
        self.domain = domain
        self.degradation = degradation
        self.flip = flip

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        height, width = self.size
        pixels = prepared_pixels(self.files[index], self.crop, self.size, self.channels)
        if self.crop == "random":
            top = int(torch.randint(pixels.shape[0] - height + 1, ()))
            left = int(torch.randint(pixels.shape[1] - width + 1, ()))
            pixels = pixels[top : top + height, left : left + width]
        hr = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None]
        sample = Samples(self.degradation.degrade(hr), hr)
        if self.flip and torch.rand(()) < 0.5:
            sample = sample.mirrored()
        return sample.packed()[0], self.domain


class TestSamples(Dataset[tuple[Tensor, int]]):
    """Test images of a domain.

    What is random in the degradation depends on the image's number alone: it is the same at every
    evaluation.
    """

    __test__ = False  # its name is not a test's

    def __init__(self, images: Tensor, domain: int, degradation: Degradation) -> None:
        self.images = images
        self.domain = domain
        self.degradation = degradation

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.samples(index, index + 1).packed()[0], self.domain

    def samples(self, start: int, stop: int) -> Samples:
        """Some of them as a batch; fewer, where there are no more."""
        images = self.images[start:stop]
        low = [
            self.degradation.degrade(
                image[None], torch.Generator().manual_seed(derived_seed(self.domain, start + k))
            )
            for k, image in enumerate(images)
        ]
        return Samples(torch.cat(low), images)
