"""A stream of drawn domains that are told apart at a glance, and a net of 243 weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cl_sr.benchmarks import Domain, Stream
from cl_sr.data.prepare import load_domain
from cl_sr.diffusion import NoiseSchedule, Parametrization
from cl_sr.models import SR3UNet
from cl_sr.strategies import find_strategy
from cl_sr.training.rng import seed_everything
from cl_sr.training.template import Sampling, SR3Template

SIZE = 16
COLOURS = {"warm": (200, 90, 40), "cold": (40, 90, 200), "green": (60, 200, 90)}


class ToyNet(nn.Module):
    """Answers as a denoiser does, with few enough weights to work things out again."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(6, 4, 3, padding=1)
        self.shift = nn.Linear(1, 4)
        self.out = nn.Conv2d(4, 3, 1)

    def forward(self, noisy: Tensor, condition: Tensor, level: Tensor) -> Tensor:
        x = self.mix(torch.cat([condition, noisy], dim=1))
        x = F.silu(x + self.shift(level.view(-1, 1))[:, :, None, None])
        out: Tensor = self.out(x)
        return out


@dataclass
class World:
    """An Avalanche benchmark and its training images.

    Attributes:
        benchmark: one experience a domain.
        images: of each domain, uint8 `(N, 3, 16, 16)`.
    """

    benchmark: Any
    images: list[Tensor]

    def template(self, strategy: Any = "finetune", **changes: Any) -> SR3Template:
        """An untrained template; the same weights each time."""
        seed_everything(0)
        settings: dict[str, Any] = {
            "net": ToyNet(),
            "schedule": NoiseSchedule.linear(100, 1e-4, 0.1),
            "parametrization": Parametrization("v", "residual"),
            "iterations": [3] * len(self.images),
            "batch_size": 4,
            "sampling": Sampling("ddim", 2),
            "lr": 1e-2,
            "ema": 0,
            "strategy": find_strategy(strategy) if isinstance(strategy, str) else strategy,
        }
        return SR3Template(**(settings | changes))

    def train(self, strategy: Any = "finetune", experiences: int = 2, **changes: Any) -> Any:
        """A template that has learnt the first `experiences`."""
        template = self.template(strategy, **changes)
        self.learn(template, range(experiences))
        return template

    def learn(self, template: SR3Template, experiences: Sequence[int]) -> None:
        for number in experiences:
            template.train(self.benchmark.train_stream[number])

    def at_end(self, template: SR3Template, number: int, action: Callable[[], None]) -> None:
        """Learn an experience, and act at its end, when its images are still at hand."""
        strategy = template.strategy
        end = strategy.end

        def both(template: SR3Template, memory: Any) -> None:
            end(template, memory)
            action()

        object.__setattr__(strategy, "end", both)  # frozen, but for tests
        self.learn(template, [number])
        object.__delattr__(strategy, "end")

    def place(self, domain: int, image: Tensor) -> int:
        """Which training image of a domain this is, mirrored or not; -1: none."""
        for k, known in enumerate(self.images[domain]):
            if torch.equal(image, known) or torch.equal(image, known.flip(-1)):
                return k
        return -1


def _draw(colour: tuple[int, int, int]) -> Callable[[int, int], np.ndarray]:
    def draw(size: int, seed: int) -> np.ndarray:
        rng = np.random.default_rng([*colour, seed])
        pixels = np.array(colour) + rng.normal(0, 12, (size, size, 3))
        return pixels.clip(0, 255).astype(np.uint8)

    return draw


@cache
def _world(lengths: tuple[int, ...]) -> World:
    domains = tuple(
        Domain(name, name, "center", _draw(colour))
        for name, colour in list(COLOURS.items())[: len(lengths)]
    )
    data = {
        domain.name: load_domain(
            domain, None, size=SIZE, scale=4, standin_images=round(length / 0.7)
        )
        for domain, length in zip(domains, lengths, strict=True)
    }
    images = [
        torch.stack([torch.from_numpy(file.pixels).permute(2, 0, 1) for file in d.train])
        for d in data.values()
    ]
    assert tuple(map(len, images)) == lengths
    return World(Stream("toy", "toy", domains).benchmark(data, scale=4, test_images=3), images)


@pytest.fixture(scope="session")
def make_world() -> Callable[..., World]:
    """A world with so many training images of each domain."""
    return lambda *lengths: _world(lengths)


@pytest.fixture(scope="session")
def world() -> World:
    """Three domains of 14 training images."""
    return _world((14, 14, 14))


@pytest.fixture
def unet() -> Callable[[], SR3UNet]:
    """Makes the smallest SR3 net, with every kind of layer in it."""

    def make() -> SR3UNet:
        torch.manual_seed(0)
        return SR3UNet(
            inner_channel=4,
            norm_groups=2,
            channel_mults=(1, 2),
            attn_res=(8,),
            res_blocks=1,
            image_size=SIZE,
        )

    return make
