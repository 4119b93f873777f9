"""The Avalanche plugin of synaptic intelligence."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cl_sr.avalanche import SupervisedPlugin
from cl_sr.errors import InputError


class PathIntegral(SupervisedPlugin[Any]):
    """Follows the weights through training, and holds them by what they contributed.

    See `cl_sr.strategies.si`. Vectors are in the order of `Learner.weights`.
    """

    def __init__(self, weight: float, xi: float) -> None:
        super().__init__()
        self.weight = weight
        self.xi = xi
        self.vectors: dict[str, Tensor] = {}
        self._step: Any = None  # the gradient and the weights before an update

    def state_dict(self) -> dict[str, Tensor]:
        return dict(self.vectors)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.vectors = dict(state)

    def before_training_exp(self, template: Any, **_: Any) -> None:
        weights = template.learner.weights().detach()
        self.vectors |= {"start": weights, "path": torch.zeros_like(weights)}

    def before_backward(self, template: Any, **_: Any) -> None:
        if "importance" in self.vectors:
            away = template.learner.weights() - self.vectors["start"]
            template.loss += self.weight * (self.vectors["importance"] * away.square()).sum()

    def before_update(self, template: Any, **_: Any) -> None:
        weights = template.learner.net.parameters()
        gradient = torch.cat([(0 * w if w.grad is None else w.grad).flatten() for w in weights])
        before = template.learner.weights().detach()
        if "importance" in self.vectors:  # the penalty itself does not count
            away = before - self.vectors["start"]
            gradient -= 2 * self.weight * self.vectors["importance"] * away
        self._step = gradient, before

    def after_update(self, template: Any, **_: Any) -> None:
        (gradient, before), self._step = self._step, None
        self.vectors["path"] -= gradient * (template.learner.weights().detach() - before)

    def after_training_exp(self, template: Any, **_: Any) -> None:
        if "importance" not in self.vectors and not self.vectors["path"].any():
            raise InputError(
                "strategy si: the first domain has no iterations, and so no path: give it some "
                "(train.iterations), without --init"
            )
        change = template.learner.weights().detach() - self.vectors.pop("start")
        path = self.vectors.pop("path").clamp(min=0)
        importance = path / (change.square() + self.xi)
        self.vectors["importance"] = self.vectors.get("importance", 0) + importance
