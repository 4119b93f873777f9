"""What answers the noise in images: a model, and whose weights restore which image."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from cl_sr.degradations.pixels import to_floats
from cl_sr.diffusion import Denoiser
from cl_sr.errors import InputError
from cl_sr.inference.nets import Nets
from cl_sr.models import Model
from cl_sr.strategies.base import Experts


class Answers:
    """A model with the experts of its strategy.

    Args:
        model: on the device to use.
        experts: whose weights restore which image; None: the model's restore all.
        nets: makes the nets of experts; None: from the model's.
        autocast: makes a context for the net alone (mixed precision).
        pause: called before each answer of a net: a place to stop.
    """

    def __init__(
        self,
        model: Model,
        experts: Experts | None = None,
        nets: Nets | None = None,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
        pause: Callable[[], None] | None = None,
    ) -> None:
        self.model = model
        self.autocast = autocast
        self.pause = pause or _go_on
        self._experts = experts or Experts()
        self._nets = nets
        self._models: dict[int, Model] = {}  # of experts

    @property
    def device(self) -> torch.device:
        """Where the net is."""
        return next(self.model.net.parameters()).device

    @property
    def routes(self) -> bool:
        """Whether an image's expert depends on the image."""
        return type(self._experts).route is not Experts.route

    def route(self, lr: Tensor) -> Tensor:
        """The number of the expert for each of 8-bit images `(B, 3, h, w)`: `(B,)`, from 0.

        Raises:
            InputError: the strategy's answer is none.
        """
        return self._numbers("route", self._experts.route(to_floats(lr)), len(lr))

    def experts_at(self, chosen: Tensor, level: Tensor) -> Tensor:
        """The experts that answer at `level` `(B,)` where these were chosen."""
        if type(self._experts).at is Experts.at:
            return chosen
        t = self.model.schedule.nearest(level)
        return self._numbers("at", self._experts.at(chosen, t), len(level))

    def model_of(self, expert: int) -> Model:
        """The model with an expert's weights, made once."""
        if expert not in self._models:
            weights = self._experts.weights(expert)
            if weights is None:
                self._models[expert] = self.model
            else:
                self._nets = self._nets or Nets(self.model.net)
                self._models[expert] = self.model.with_net(self._nets.of(weights))
        return self._models[expert]

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

    Args:
        answers: that it asks.
        lr: uint8 `(B, 3, h, w)`, on the device.
        experts: the expert for each, `(B,)`.
        condition: see below.

    Attributes:
        condition: the low-resolution images at the size of high-resolution ones, `(B, 3, H, W)` in
            [-1, 1].
    """

    def __init__(self, answers: Answers, lr: Tensor, experts: Tensor, condition: Tensor) -> None:
        self._answers = answers
        self._lr = to_floats(lr)
        self._experts = experts
        self._shown: dict[int, Tensor | None] = {}  # by expert
        self.condition = condition

    def __call__(self, noisy: Tensor, condition: Tensor | None, level: Tensor) -> Tensor:
        """The noise in `noisy`, `(B, C, ...)`, at `level` `(B,)`; `condition` is not looked at."""
        self._answers.pause()
        experts = self._answers.experts_at(self._experts, level)
        numbers = experts.unique().tolist()
        if len(numbers) == 1 and not self._answers.routes:
            return self._answer(numbers[0], slice(None), noisy, level)
        # Also where all go to one expert: an answer must not differ, in the order of its numbers in
        # memory and so in the last bit of their sum, with what else is in the batch.
        noise = torch.empty_like(noisy)
        for number in numbers:
            rows = experts == number
            noise[rows] = self._answer(number, rows, noisy[rows], level[rows])
        return noise

    def encode(self, image: Tensor, condition: Tensor | None) -> Tensor:
        return self._answers.model.encode(image, self.condition)

    def decode(self, diffused: Tensor, condition: Tensor | None) -> Tensor:
        return self._answers.model.decode(diffused, self.condition)

    def _answer(self, number: int, rows: Any, noisy: Tensor, level: Tensor) -> Tensor:
        """By one expert, for the rows of the batch that are its."""
        model = self._answers.model_of(number)
        if number not in self._shown:
            with self._answers.autocast():
                self._shown[number] = model.shown(self._lr, self.condition)
        shown = self._shown[number]
        denoise = Denoiser(model.net, model.parametrization, self._answers.autocast)
        return denoise(noisy, None if shown is None else shown[rows], level)


def _go_on() -> None:
    """Nobody asks to stop."""
