"""The order of training images, and their random crops: functions of a seed and a position.

So a run can be taken up at any iteration, loads the same images with any number of workers, and
does not change when something else draws random numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

Place = tuple[int, int]


def derived_seed(*numbers: int) -> int:
    """A seed from several numbers, all of which matter."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def noise_seeds(first: Sequence[int], draw: int) -> Sequence[int]:
    """Of the noise of images: their first one's, or for a further draw others that depend on it."""
    return [derived_seed(seed, draw) % 2**31 for seed in first] if draw else first


class Passes(Sampler[Place]):
    """Pairs of position and index: permutation after permutation of a data set.

    Args:
        length: of the data set.
        start, stop: the positions, of all those that an experience has.
        seed: of the permutations.
    """

    def __init__(self, length: int, start: int, stop: int, seed: int) -> None:
        self.length = length
        self.start = start
        self.stop = stop
        self.seed = seed

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[Place]:
        position = self.start
        while position < self.stop:
            number, offset = divmod(position, self.length)
            generator = torch.Generator().manual_seed(derived_seed(self.seed, number))
            for index in torch.randperm(self.length, generator=generator).tolist()[offset:]:
                if position == self.stop:
                    return
                yield position, index
                position += 1


class Seeded(Dataset[Any]):
    """A data set whose random changes come from a seed and the position, see `Passes`."""

    def __init__(self, dataset: Any, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, place: Place) -> Any:
        position, index = place
        state = torch.get_rng_state()
        # torch.manual_seed would seed the GPUs too.
        torch.default_generator.manual_seed(derived_seed(self.seed, position, 1))
        try:
            return self.dataset[index]
        finally:
            torch.set_rng_state(state)
