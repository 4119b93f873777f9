"""Random number generators: seeding all of them, and keeping evaluation out of training."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch on all devices."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  Avalanche's plugins draw from the global generator
    torch.manual_seed(seed)


@dataclass(frozen=True)
class RandomState:
    """The states of all generators: Python's, NumPy's, and torch's by device."""

    python: Any
    numpy: Any
    torch: dict[str, Tensor]

    @classmethod
    def now(cls) -> RandomState:
        states = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            for number, state in enumerate(torch.cuda.get_rng_state_all()):
                states[f"cuda:{number}"] = state
        if torch.backends.mps.is_available():
            states["mps"] = torch.mps.get_rng_state()
        return cls(random.getstate(), np.random.get_state(), states)  # noqa: NPY002

    def set(self) -> None:
        """Put every generator back. Those of devices that are no more here are left out."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)  # noqa: NPY002
        torch.set_rng_state(self.torch["cpu"])
        for name, state in self.torch.items():
            device = torch.device(name)
            if device.type == "cuda" and (device.index or 0) < torch.cuda.device_count():
                torch.cuda.set_rng_state(state, device)
            elif device.type == "mps" and torch.backends.mps.is_available():
                torch.mps.set_rng_state(state)


@contextmanager
def isolated_rng() -> Iterator[RandomState]:
    """Whatever is drawn inside leaves every generator as it was."""
    before = RandomState.now()
    try:
        yield before
    finally:
        before.set()
