"""Restoring images: the same way during training and afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from cl_sr.degradations import Degradation
from cl_sr.degradations.pixels import to_bytes, to_floats
from cl_sr.diffusion import Denoiser, Sampling, sample
from cl_sr.diffusion.sampling import DDNM
from cl_sr.errors import InputError
from cl_sr.inference.nets import Nets
from cl_sr.inference.pictures import composed, opened
from cl_sr.inference.tiles import TiledDenoiser, Tiles, reflected, step_of, tiles_for
from cl_sr.models import Model, Prior, sr3_prior
from cl_sr.models.model import image_channels
from cl_sr.strategies.base import Experts
from cl_sr.zero_shot import Operator, ddnm


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
        >>> restorer = cl_sr.load("runs/faces")
        >>> images = restorer(lr, steps=20, seeds=[0, 1, 2])
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
        self._experts = experts or Experts()
        self._nets = nets
        self._autocast = autocast
        self._pause = pause or _go_on
        self._models: dict[int, Model] = {}  # of experts

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
        return next(self.model.net.parameters()).device

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
        sampling = self._sampling(sampler, steps, eta)
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
        return self._numbers("route", self._experts.route(to_floats(lr)), len(lr))

    def denoiser(self, lr: Tensor, experts: Tensor | None = None) -> BatchDenoiser:
        """What answers the noise in images whose low-resolution images are `lr`.

        Args:
            lr: uint8 `(B, 3, h, w)`, on the device.
            experts: the expert for each, `(B,)`; None: as `route` says.
        """
        chosen = self.route(lr) if experts is None else experts
        return BatchDenoiser(self, lr, chosen, to_floats(self.degradation.condition(lr)))

    def upscale(
        self,
        picture: Image.Image,
        *,
        tile: int | None = None,
        overlap: int | None = None,
        by_tile: bool = False,
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
            tile: side of the tiles that it is cut into, pixels; they are drawn jointly, see
                `cl_sr.inference.tiles`. None: what the model was trained at; 0: the whole picture
                at once, which takes memory.
            overlap: that tiles share, pixels; None: a quarter of a tile.
            by_tile: whether the strategy chooses an expert for each tile.
            sampler, steps, eta: in the place of this restorer's sampling.
            seed: of the noise.
            progress: told the share that is done, after each batch of tiles.

        Raises:
            ValueError: tiles that the net cannot take, or a sampling that there is not.
        """
        sampling = self._sampling(sampler, steps, eta)
        if sampling.sampler == DDNM:
            raise ValueError("DDNM draws with a prior: cl-sr zero-shot takes pictures of any size")
        tiles = tiles_for(self.model, self.scale, tile, overlap)
        colours, rest = opened(picture, image_channels(self.model))
        lr = torch.from_numpy(colours)[None].to(self.device)
        images = self._large(lr, seed, sampling, tiles, by_tile, progress)
        return composed(to_bytes(images)[0], rest)

    def _sampling(self, sampler: str | None, steps: int | None, eta: float | None) -> Sampling:
        given: dict[str, Any] = {"sampler": sampler, "steps": steps, "eta": eta}
        sampling = replace(self.sampling, **{k: v for k, v in given.items() if v is not None})
        sampling.check(self.model.schedule.steps)
        return sampling

    def _large(
        self,
        lr: Tensor,
        seed: int,
        sampling: Sampling,
        tiles: Tiles | None,
        by_tile: bool,
        progress: Callable[[float], None],
    ) -> Tensor:
        """One image `(1, 3, h, w)` of any size, padded to what the net takes and cut back."""
        height, width = lr.shape[-2:]
        step, least = step_of(self.model, self.scale), 1 if tiles is None else tiles.side
        lr = reflected(lr, *(max(least, -(-side // step) * step) for side in (height, width)))
        condition = to_floats(self.degradation.condition(lr))
        chosen = None if by_tile else self.route(lr)

        def denoiser(lr: Tensor, condition: Tensor) -> BatchDenoiser:
            experts = self.route(lr) if chosen is None else chosen.expand(len(lr))
            return BatchDenoiser(self, lr, experts, condition)

        if tiles is None or max(lr.shape[-2:]) <= tiles.side:
            images = self._sampled(denoiser(lr, condition), [seed], sampling)
        else:
            done = count(1)
            tiled = TiledDenoiser(
                self.model, denoiser, lr, condition, tiles, self.batch,
                after_batch=lambda: progress(next(done) / batches),
            )  # fmt: skip
            batches = tiled.batches * (len(self.model.schedule.respace(sampling.steps)) - 1)
            images = self._sampled(tiled, [seed], sampling)
        return images[..., : height * self.scale, : width * self.scale]

    def _draw(self, lr: Tensor, seeds: Sequence[int], sampling: Sampling) -> Tensor:
        return self._sampled(self.denoiser(lr), seeds, sampling)

    def _sampled(
        self, denoise: BatchDenoiser | TiledDenoiser, seeds: Sequence[int], sampling: Sampling
    ) -> Tensor:
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
        if not isinstance(self.degradation, Operator):
            raise InputError(
                f"DDNM needs a linear degradation with a pseudo-inverse, and "
                f"{self.degradation.name} is none: take bicubic or area"
            )
        net = self.model.net
        if self.model.conditional:
            raise InputError("DDNM draws with a prior, and this model is shown the input: use ddim")
        prior = net if isinstance(net, Prior) else sr3_prior(self.model)
        return ddnm(
            prior,
            to_floats(lr),
            self.degradation,
            prior.schedule.steps if sampling.steps is None else sampling.steps,
            sampling.eta,
            sampling.travel_length,
            sampling.travel_repeat,
            seeds=seeds,
            callback=lambda _: self._pause(),
        )

    def _model_of(self, expert: int) -> Model:
        """The model with an expert's weights, made once."""
        if expert not in self._models:
            weights = self._experts.weights(expert)
            if weights is None:
                self._models[expert] = self.model
            else:
                self._nets = self._nets or Nets(self.model.net)
                self._models[expert] = self.model.with_net(self._nets.of(weights))
        return self._models[expert]

    @property
    def _routes(self) -> bool:
        """Whether an image's expert depends on the image."""
        return type(self._experts).route is not Experts.route

    def _experts_at(self, chosen: Tensor, level: Tensor) -> Tensor:
        if type(self._experts).at is Experts.at:
            return chosen
        t = self.model.schedule.nearest(level)
        return self._numbers("at", self._experts.at(chosen, t), len(level))

    def _numbers(self, hook: str, found: Any, count: int) -> Tensor:
        """What experts answer, if it is the number of an expert for each image.

        Raises:
            InputError: it is something else.
        """
        whole = isinstance(found, Tensor) and not (found.is_floating_point() or found.is_complex())
        if not whole or found.shape != (count,):
            raise InputError(
                f"{type(self._experts).__name__}.{hook}() must return a whole number for each of "
                f"{count} images, not {found!r:.80}"
            )
        return found


class BatchDenoiser:
    """Answers for one batch of low-resolution images, each by its expert: as samplers call it.

    Attributes:
        condition: the low-resolution images at the size of high-resolution ones, `(B, 3, H, W)` in
            [-1, 1].
    """

    def __init__(self, restorer: Restorer, lr: Tensor, experts: Tensor, condition: Tensor) -> None:
        self._restorer = restorer
        self._lr = to_floats(lr)
        self._experts = experts
        self._shown: dict[int, Tensor | None] = {}  # by expert
        self.condition = condition

    def __call__(self, noisy: Tensor, condition: Tensor | None, level: Tensor) -> Tensor:
        """The noise in `noisy`, `(B, C, ...)`, at `level` `(B,)`; `condition` is not looked at."""
        restorer = self._restorer
        restorer._pause()
        experts = restorer._experts_at(self._experts, level)
        numbers = experts.unique().tolist()
        if len(numbers) == 1 and not restorer._routes:
            return self._answer(numbers[0], slice(None), noisy, level)
        # Also where all go to one expert: an answer must not differ, in the order of its numbers in
        # memory and so in the last bit of their sum, with what else is in the batch.
        noise = torch.empty_like(noisy)
        for number in numbers:
            rows = experts == number
            noise[rows] = self._answer(number, rows, noisy[rows], level[rows])
        return noise

    def encode(self, image: Tensor, condition: Tensor | None) -> Tensor:
        return self._restorer.model.encode(image, self.condition)

    def decode(self, diffused: Tensor, condition: Tensor | None) -> Tensor:
        return self._restorer.model.decode(diffused, self.condition)

    def _answer(self, number: int, rows: Any, noisy: Tensor, level: Tensor) -> Tensor:
        """By one expert, for the rows of the batch that are its."""
        model = self._restorer._model_of(number)
        if number not in self._shown:
            with self._restorer._autocast():
                self._shown[number] = model.shown(self._lr, self.condition)
        shown = self._shown[number]
        denoise = Denoiser(model.net, model.parametrization, self._restorer._autocast)
        return denoise(noisy, None if shown is None else shown[rows], level)


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


def _go_on() -> None:
    """Nobody asks to stop."""
