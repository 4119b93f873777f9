"""The batches of an experience: an exact number, in an order that a seed and a position tell."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from cl_sr.data.order import Passes, Seeded
from cl_sr.stopping import SIGNALS


def training_loader(
    dataset: Any, seed: int, iterations: range, batch_size: int, workers: int, pin: bool
) -> DataLoader[Any]:
    """All batches of an experience, as one pass over a repeatedly shuffled data set.

    Args:
        dataset: of `(packed, domain)`.
        seed: of the order and of what is random in an image.
        iterations: of all that the experience has, those to load.
        batch_size: images.
        workers: processes that load images; 0: this one.
        pin: whether batches go to a GPU.
    """
    return DataLoader(
        Seeded(dataset, seed),
        batch_size=batch_size,
        sampler=Passes(
            len(dataset), iterations.start * batch_size, iterations.stop * batch_size, seed
        ),
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=_leave_signals_to_the_run,
        generator=torch.Generator(),  # else it would draw from the one that training uses
    )


def _leave_signals_to_the_run(_: int) -> None:
    """Clusters send them to every process, and a run loses its state when a worker dies of one."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class Shortened:
    """The first `length` batches of a loader; loggers ask for the length."""

    def __init__(self, loader: Any, length: int) -> None:
        self.loader = loader
        self.length = min(length, len(loader))

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        for _, batch in zip(range(self.length), self.loader, strict=False):
            yield batch
