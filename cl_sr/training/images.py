"""The images of an experience, as strategies ask for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from cl_sr.data.samples import Samples
from cl_sr.errors import InputError
from cl_sr.training.rng import isolated_rng

MOST = 4096  # low-resolution images that are drawn at once


class ExperienceImages:
    """See `cl_sr.strategies.learner.Images`.

    Args:
        dataset: of an Avalanche experience, of `(packed, domain)`.
        scale: high over low resolution.
        flip: whether images are mirrored at random.
    """

    def __init__(self, dataset: Any, scale: int, flip: bool) -> None:
        self.flip = flip
        self._dataset = dataset
        self._scale = scale
        self._held_out = 0
        self._taken = False

    def __len__(self) -> int:
        return len(self._dataset) - self._held_out

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._first().lr.shape[1:])

    def hold_out(self, count: int) -> None:
        if self._taken:
            raise InputError("images.hold_out() is for adapt(): now they are trained on")
        if type(count) is not int or not 0 <= count < len(self._dataset):
            raise InputError(
                f"images.hold_out() takes a whole number of at most {len(self._dataset) - 1} "
                f"images, not {count!r}"
            )
        self._held_out = max(self._held_out, count)

    @property
    def held_out(self) -> Samples:
        if not self._held_out:
            return self._first()[:0]
        packed = [self._dataset[index][0] for index in range(len(self), len(self._dataset))]
        return Samples.unpack(torch.stack(packed), self._scale)

    def take(self, dataset: Any) -> Any:
        """Be about the data set that a plugin may have changed; without those that are held out."""
        self._dataset = dataset
        self._taken = True
        return dataset.subset(range(len(self)))

    def draw(self, count: int, passes: int = 1) -> Samples:
        return Samples.unpack(torch.stack(list(self._drawn(count, passes))), self._scale)

    def low_resolution(self, passes: int = 1) -> Tensor:
        drawn = self._drawn(MOST, passes)
        return torch.cat([Samples.unpack(packed[None], self._scale).lr for packed in drawn])

    def _first(self) -> Samples:
        """The first image, leaving random numbers alone."""
        with isolated_rng():
            return Samples.unpack(self._dataset[0][0][None], self._scale)

    def _drawn(self, count: int, passes: int) -> Iterator[Tensor]:
        chosen = torch.cat([torch.randperm(len(self)) for _ in range(passes)])[:count].tolist()
        return (self._dataset[index][0] for index in chosen)
