"""Elastic weight consolidation, with a Fisher information that suits a denoiser."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cl_sr.errors import InputError
from cl_sr.strategies.base import Strategy, option
from cl_sr.strategies.memory import Memory
from cl_sr.strategies.traits import Does, Traits

if TYPE_CHECKING:
    from torch import Tensor

    from cl_sr.strategies.learner import Learner


@dataclass(frozen=True)
class Ewc(Strategy):
    """Holds each weight by its importance for earlier domains (its diagonal Fisher information).

    Kirkpatrick et al. (arXiv 1612.00796), Eq. 3, summed over the earlier domains as in online EWC
    (Schwarz et al., arXiv 1805.06370):

        L = L(new) + weight / 2 sum_i F_i (w_i - w*_i)^2.

    F_i is the mean square of the gradient of *single* images' losses (that of a batch's mean, as
    often used, shrinks with the batch), each at one draw of t and noise, with t in the window that
    the next experience is trained on. Each domain's F is divided by its mean, so that `weight`
    means the same for any net and resolution.

    Memory: two numbers a weight, the second while an experience lasts. Time: `samples` backward
    passes of one image after each experience.
    """

    traits: ClassVar[Traits] = Traits(does=frozenset({Does.HOLDS_WEIGHTS}), plain_start=True)

    weight: float = option(0.01, "of the penalty")
    samples: int = option(256, "images and draws of noise for the Fisher information")

    def check(self, steps: int, shapes: Mapping[str, Sequence[int]] | None = None) -> None:
        if not 0 <= self.weight < math.inf or self.samples < 1:
            raise InputError(
                f"strategy ewc: weight={self.weight} must be 0 or more, samples={self.samples} "
                "at least 1"
            )

    def begin(self, learner: Learner, memory: Memory) -> None:
        if "fisher" in memory:
            memory["start"] = learner.weights().detach()

    def penalty(self, learner: Learner, memory: Memory) -> Tensor | float:
        if "fisher" not in memory:
            return 0.0
        away = learner.weights() - memory["start"]
        return self.weight / 2 * (memory["fisher"] * away.square()).sum()

    def end(self, learner: Learner, memory: Memory) -> None:
        if learner.last:
            return  # nobody will ask for it
        fisher = self._fisher(learner)
        memory["fisher"] = memory.get("fisher", 0) + fisher / fisher.mean()
        memory.pop("start", None)

    def _fisher(self, learner: Learner) -> Tensor:
        """The mean square of the gradients of single images' losses, `(weights,)`."""
        import torch

        images = learner.images.draw(self.samples).to(learner.device)
        total = torch.zeros_like(learner.weights())
        for k in range(self.samples):
            one = k % len(images)
            loss = learner.denoising_loss(images[one : one + 1], learner.number + 1)
            trained = [weight for weight in learner.net.parameters() if weight.requires_grad]
            found = iter(torch.autograd.grad(loss, trained))
            # What the family of models keeps frozen has no gradient.
            gradient = [next(found) if w.requires_grad else 0 * w for w in learner.net.parameters()]
            total += torch.cat([g.flatten() for g in gradient]).square()
        return total / self.samples
