"""Restoring images: the same way during training and afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from cl_sr.degradations import Degradation
from cl_sr.degradations.pixels import to_bytes, to_floats
from cl_sr.diffusion import Sampling, sample
from cl_sr.diffusion.sampling import DDNM
from cl_sr.errors import InputError
from cl_sr.inference.answers import Answers, BatchDenoiser
from cl_sr.inference.nets import Nets
from cl_sr.inference.upscaling import Request, Upscaled, operator_of, prior_of, upscale
from cl_sr.models import Model
from cl_sr.models.model import image_channels
from cl_sr.strategies.base import Experts
from cl_sr.zero_shot import ddnm


@dataclass(frozen=True)
class Origin:
    """Where a restorer comes from.

    Attributes:
        domains: what its model has learnt, in order.
        strategy: by which, as on the command line.
        iterations: of training.
    """

    domains: tuple[str, ...] = ()
    strategy: str = "finetune"
    iterations: int = 0


class Restorer:
    """A model, with what its strategy remembers, a degradation, and a way of sampling.

    Args:
        model: on the device to use.
        degradation: that made the low-resolution images.
        sampling: how images are drawn.
        experts: whose weights restore which image; None: the model's restore all.
        nets: makes the nets of experts; None: from the model's.
        autocast: makes a context for the net alone (mixed precision).
        batch: most images at a time.
        pause: called before each answer of a net: a place to stop.
        origin: where it comes from.

    Example:
        >>> restorer = cl_sr.load("runs/a")
        >>> lr = torch.rand(3, 3, 8, 8)
        >>> restorer(lr, steps=20, seeds=[0, 1, 2]).shape
        torch.Size([3, 3, 32, 32])
    """

    def __init__(
        self,
        model: Model,
        degradation: Degradation,
        sampling: Sampling | None = None,
        *,
        experts: Experts | None = None,
        nets: Nets | None = None,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
        batch: int = 64,
        pause: Callable[[], None] | None = None,
        origin: Origin | None = None,
    ) -> None:
        if batch < 1:
            raise ValueError(f"batch={batch}: at least one image at a time")
        self.model = model
        self.degradation = degradation
        self.sampling = sampling or Sampling()
        self.batch = batch
        self.origin = origin or Origin()
        self._answers = Answers(model, experts, nets, autocast, pause)

    @property
    def domains(self) -> tuple[str, ...]:
        """What its model has learnt, in order."""
        return self.origin.domains

    @property
    def strategy(self) -> str:
        """What was done against forgetting, as on the command line."""
        return self.origin.strategy

    @property
    def scale(self) -> int:
        """High over low resolution."""
        return self.degradation.scale

    @property
    def device(self) -> torch.device:
        """Where it works."""
        return self._answers.device

    def __call__(
        self,
        lr: Tensor,
        *,
        sampler: str | None = None,
        steps: int | None = None,
        eta: float | None = None,
        seeds: Sequence[int] | None = None,
    ) -> Tensor:
        """Super-resolve images.

        Args:
            lr: low-resolution images, floats `(B, 3, h, w)` in [0, 1] (one channel: grey), which
                are rounded to 8 bit, as those that the model was trained with. `h * scale` and
                `w * scale` must be multiples of what the net halves its input by.
            sampler, steps, eta: in the place of this restorer's sampling.
            seeds: of the noise, one an image; None: 0, 1, ... An image's result depends on its
                seed and not on the others.

        Returns:
            High-resolution images, `(B, 3, h * scale, w * scale)` in [0, 1], on the CPU.

        Raises:
            ValueError: tensors of another shape or range, not a seed for each image, or an unknown
                sampler.
        """
        _check_floats(lr, image_channels(self.model))
        first = self.sampling.seed
        seeds = range(first, first + len(lr)) if seeds is None else seeds
        if len(seeds) != len(lr):
            raise ValueError(f"{len(seeds)} seeds for {len(lr)} images")
        sampling = self.sampling.changed(sampler, steps, eta)
        sampling.check(self.model.schedule.steps)
        images = self.restore(to_bytes(lr * 2 - 1), seeds, sampling)
        return ((images.clamp(-1, 1) + 1) / 2).cpu()

    def restore(self, lr: Tensor, seeds: Sequence[int], sampling: Sampling | None = None) -> Tensor:
        """High-resolution images of 8-bit ones.

        Args:
            lr: uint8 `(B, 3, h, w)`, any number.
            seeds: of the noise, one an image.
            sampling: in the place of this restorer's.

        Returns:
            `(B, 3, h * scale, w * scale)`, about [-1, 1], on the device.
        """
        sampling = sampling or self.sampling
        height, width = (side * self.scale for side in lr.shape[-2:])
        parts = [torch.empty(0, lr.shape[1], height, width, device=self.device)]
        for first in range(0, len(lr), self.batch):
            rows = slice(first, first + self.batch)
            draw = self._draw_ddnm if sampling.sampler == DDNM else self._draw
            parts.append(draw(lr[rows].to(self.device), list(seeds[rows]), sampling))
        return torch.cat(parts) if len(parts) != 2 else parts[1]

    def route(self, lr: Tensor) -> Tensor:
        """The number of the expert for each of 8-bit images `(B, 3, h, w)`: `(B,)`, from 0.

        Raises:
            InputError: the strategy's answer is none.
        """
        return self._answers.route(lr)

    def denoiser(self, lr: Tensor, experts: Tensor | None = None) -> BatchDenoiser:
        """What answers the noise in images whose low-resolution images are `lr`.

        Args:
            lr: uint8 `(B, 3, h, w)`, on the device.
            experts: the expert for each, `(B,)`; None: as `route` says.
        """
        chosen = self.route(lr) if experts is None else experts
        return BatchDenoiser(self._answers, lr, chosen, to_floats(self.degradation.condition(lr)))

    @property
    def routes(self) -> bool:
        """Whether its strategy chooses weights by the image."""
        return self._answers.routes

    def upscale(
        self,
        picture: Image.Image,
        *,
        tile: int | None = None,
        overlap: int | None = None,
        by_tile: bool = False,
        domain: str | None = None,
        consistent: bool = False,
        sampler: str | None = None,
        steps: int | None = None,
        eta: float | None = None,
        seed: int = 0,
        progress: Callable[[float], None] = lambda _: None,
    ) -> Image.Image:
        """A picture of any size, `scale` times as large.

        It is turned as its EXIF orientation says. Grey pictures stay grey, transparency is enlarged
        beside the colours (bicubic), and an ICC profile is kept. 16 bits become 8.

        Args:
            picture: that is not shrunk first.
            tile, overlap, by_tile, consistent, seed, progress: see `cl_sr.inference.Request`.
            domain: whose expert restores it; None: the strategy chooses.
            sampler, steps, eta: in the place of this restorer's sampling.

        Raises:
            InputError: a domain that was not learnt.
            ValueError: tiles that the net cannot take, or a sampling that there is not.

        Example:
            >>> restorer = cl_sr.load("runs/a")
            >>> restorer.upscale(Image.open("small.png"), steps=20).save("large.png")
        """
        request = Request(
            tile,
            overlap,
            by_tile,
            None if domain is None else expert_of(self, domain),
            consistent,
            seed=seed,
            batch=self.batch,
            progress=progress,
        )
        return self.enlarge(picture, request, self.sampling.changed(sampler, steps, eta)).picture()

    def enlarge(
        self, picture: Image.Image, request: Request, sampling: Sampling | None = None
    ) -> Upscaled:
        """As `upscale`, told what was done, and without the result in memory where it is large."""
        sampling = sampling or self.sampling
        return upscale(picture, self._answers, self.degradation, sampling, request)

    def _draw(self, lr: Tensor, seeds: Sequence[int], sampling: Sampling) -> Tensor:
        denoise = self.denoiser(lr)
        return sample(
            denoise,
            denoise.condition,
            self.model.schedule,
            sampling.sampler,
            sampling.steps,
            clip=self.model.clip,
            eta=sampling.eta,
            seeds=seeds,
            shape=self.model.shape(denoise.condition),
        )

    def _draw_ddnm(self, lr: Tensor, seeds: Sequence[int], sampling: Sampling) -> Tensor:
        prior = prior_of(self.model)
        return ddnm(
            prior,
            to_floats(lr),
            operator_of(self.degradation),
            prior.schedule.steps if sampling.steps is None else sampling.steps,
            sampling.eta,
            sampling.travel_length,
            sampling.travel_repeat,
            seeds=seeds,
            callback=lambda _: self._answers.pause(),
        )


def expert_of(restorer: Restorer, domain: str) -> int:
    """The number of the expert for images of a domain, for `Request.expert`.

    Raises:
        InputError: the domain was never learnt, or all are restored by the same weights.
    """
    domains = restorer.domains
    if domain not in domains:
        learnt = ", ".join(domains) or "none"
        raise InputError(f"the domain {domain!r} was never learnt; those that were: {learnt}")
    if not restorer.routes and len(domains) > 1:
        raise InputError(
            f"{restorer.strategy} restores all domains with the same weights: there are none of "
            f"{domain} to choose (--after or after= takes the state just after it was learnt)"
        )
    return domains.index(domain) if restorer.routes else 0


def expert_name(restorer: Restorer, number: int) -> str:
    """What an expert is called: its domain, where the strategy chooses by the image."""
    known = restorer.routes and number < len(restorer.domains)
    return restorer.domains[number] if known else f"expert {number}"


def _check_floats(lr: Tensor, channels: int) -> None:
    if lr.ndim != 4 or lr.shape[1] != channels or not lr.is_floating_point():
        raise ValueError(
            f"lr must be floats (B, {channels}, h, w), not {lr.dtype} {tuple(lr.shape)}"
        )
    least, most = (float(end) for end in lr.aminmax()) if lr.numel() else (0.0, 1.0)
    if not -0.5 <= least <= most <= 1.5:  # what was resized may lie a little beyond [0, 1]
        raise ValueError(
            f"lr must be in [0, 1], not in [{least:g}, {most:g}]: divide 8-bit values by 255"
        )
