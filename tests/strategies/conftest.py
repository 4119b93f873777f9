"""A stream of drawn domains that are told apart at a glance, and a net of 243 weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from cl_sr.data.samples import Samples
from cl_sr.degradations import Bicubic
from cl_sr.degradations.pixels import to_floats
from cl_sr.diffusion import Denoiser, NoiseSchedule, Parametrization, Sampling, sample
from cl_sr.models import Model, SR3UNet
from cl_sr.strategies import Composition, compose
from cl_sr.training.images import ExperienceImages
from cl_sr.training.rng import seed_everything
from cl_sr.training.settings import Evaluation, Optimization
from cl_sr.training.template import DiffusionTemplate

SIZE, SCALE = 16, 4
COLOURS = {"warm": (200, 90, 40), "cold": (40, 90, 200), "green": (60, 200, 90)}
# What a template is given as `Model`, `Optimization` or `Evaluation`: by the names of the tests.
MODEL = {name: name for name in ("net", "schedule", "parametrization", "conditional")}
OPTIMIZATION = {name: name for name in Optimization.__dataclass_fields__}
EVALUATION = {
    "sampling": "sampling",
    "eval_stream": "stream",
    "eval_every": "every",
    "eval_batch_size": "batch_size",
}


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

    def rates(self, strategy: Any, **changes: Any) -> list[float]:
        """The learning rate of each iteration of two experiences of three."""
        template, found = self.template(strategy, **changes), list[float]()
        forward = template.forward

        def spy() -> Tensor:
            found.append(template.optimizer.param_groups[0]["lr"])
            return forward()

        template.forward = spy  # type: ignore[method-assign]
        self.learn(template, [0, 1])
        return found

    def template(self, strategy: Any = "finetune", **changes: Any) -> DiffusionTemplate:
        """An untrained template; the same weights each time.

        Args:
            strategy: text, an object of `Strategy`, or a composition.
            changes: arguments of the model, of `Optimization`, of `Evaluation` (`eval_every`, ...)
                and of the template itself.
        """
        seed_everything(0)
        settings: dict[str, Any] = {
            "net": ToyNet(),
            "schedule": NoiseSchedule.linear(100, 1e-4, 0.1),
            "parametrization": Parametrization("v", "residual"),
            "degradation": Bicubic(SCALE),
            "iterations": [3] * len(self.images),
            "batch_size": 4,
            "sampling": Sampling("ddim", 2),
            "lr": 1e-2,
            "ema": 0.0,
        } | changes

        def taken(names: dict[str, str]) -> dict[str, Any]:
            return {names[key]: settings.pop(key) for key in names if key in settings}

        return DiffusionTemplate(
            model=Model(**taken(MODEL), scale=SCALE),
            strategy=strategy if isinstance(strategy, Composition) else compose(strategy),
            optimization=Optimization(**taken(OPTIMIZATION)),
            evaluation=Evaluation(**taken(EVALUATION)),
            **settings,
        )

    def train(self, strategy: Any = "finetune", experiences: int = 2, **changes: Any) -> Any:
        """A template that has learnt the first `experiences`."""
        template = self.template(strategy, **changes)
        self.learn(template, range(experiences))
        return template

    def learn(self, template: DiffusionTemplate, experiences: Sequence[int]) -> None:
        for number in experiences:
            template.train(self.benchmark.train_stream[number])

    def adapt(self, template: DiffusionTemplate, number: int) -> None:
        """Do what a template does before the first iteration of an experience, but train."""
        learner, experience = template.learner, self.benchmark.train_stream[number]
        template.learning = template.experience = experience
        learner.number = number
        learner.lr = template.optimizer.defaults["lr"]
        learner.images = ExperienceImages(experience.dataset, SCALE, True)
        template.strategy.each("adapt", learner, template.memory)

    @contextmanager
    def around(
        self,
        template: DiffusionTemplate,
        hook: str,
        *,
        before: Callable[[], None] = lambda: None,
        after: Callable[[], None] = lambda: None,
    ) -> Iterator[None]:
        """Something is done before and after `adapt`, `begin`, `settle` or `end` of all parts."""
        strategy = template.strategy
        each = strategy.each

        def spy(called: str, learner: Any, memory: Any) -> None:
            if called == hook:
                before()
            each(called, learner, memory)
            if called == hook:
                after()

        object.__setattr__(strategy, "each", spy)  # frozen, but for tests
        try:
            yield
        finally:
            object.__delattr__(strategy, "each")

    def at_end(self, template: DiffusionTemplate, number: int, action: Callable[[], None]) -> None:
        """Learn an experience, and act at its end, when its images are still at hand."""
        with self.around(template, "end", after=action):
            self.learn(template, [number])

    def place(self, domain: int, image: Tensor) -> int:
        """Which training image of a domain this is, mirrored or not; -1: none."""
        for k, known in enumerate(self.images[domain]):
            if torch.equal(image, known) or torch.equal(image, known.flip(-1)):
                return k
        return -1

    def places(self, domain: int, images: Tensor) -> list[int]:
        """The same for each of several."""
        return [self.place(domain, image) for image in images]

    def samples(self, domain: int, count: int = 14) -> Samples:
        """The first images of a domain with their low-resolution ones."""
        hr = self.images[domain][:count]
        return Samples(Bicubic(SCALE).degrade(hr), hr)

    def restored(
        self, template: DiffusionTemplate, net: nn.Module, lr: Tensor, seeds: Sequence[int]
    ) -> Tensor:
        """What a net makes of low-resolution images by `cl_sr.diffusion` alone, in [-1, 1]."""
        model = template.model.model
        denoiser = Denoiser(net, model.parametrization)
        condition = to_floats(template.learner.degradation.condition(lr))
        return sample(denoiser, condition, model.schedule, "ddim", 2, seeds=seeds)


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
            domain, None, size=SIZE, scale=SCALE, standin_images=round(length / 0.7)
        )
        for domain, length in zip(domains, lengths, strict=True)
    }
    images = [
        torch.stack([torch.from_numpy(file.pixels).permute(2, 0, 1) for file in d.train])
        for d in data.values()
    ]
    assert tuple(map(len, images)) == lengths
    benchmark = Stream("toy", "toy", domains).benchmark(data, Bicubic(SCALE), test_images=3)
    return World(benchmark, images)


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
