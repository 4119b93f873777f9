"""Random number generators: seeding all of them, and keeping evaluation out of training."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch on all devices."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  Avalanche's plugins draw from the global generator
    torch.manual_seed(seed)


@contextmanager
def isolated_rng() -> Iterator[None]:
    """Whatever is drawn inside leaves every generator as it was."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
