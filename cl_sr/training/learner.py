"""What strategies are given of a run: see `cl_sr.strategies.learner.Learner`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from cl_sr.data.samples import Samples
from cl_sr.degradations import Degradation
from cl_sr.diffusion import Sampling
from cl_sr.inference.device import autocast
from cl_sr.inference.nets import Nets
from cl_sr.inference.restorer import Restorer
from cl_sr.models.lora import plain_state
from cl_sr.models.model import Net
from cl_sr.models.objective import DenoisingLoss, Objective, Seen
from cl_sr.strategies import Composition
from cl_sr.strategies.learner import SAMPLING
from cl_sr.training.images import ExperienceImages
from cl_sr.training.settings import Optimization


class RunLearner:
    """A run, as its strategies see it; the template sets what changes.

    Args:
        objective: that is trained.
        strategy: of the run.
        nets: makes nets with other weights.
        optimization, seed, device: of the run.
        inference_net: tells the net to draw images with.
        pause: called before each answer of a net: a place to stop.
    """

    def __init__(
        self,
        objective: Objective,
        strategy: Composition,
        nets: Nets,
        optimization: Optimization,
        *,
        seed: int,
        device: torch.device,
        inference_net: Callable[[], nn.Module],
        pause: Callable[[], None],
    ) -> None:
        self.number = 0
        self.last = False
        self.lr = optimization.lr
        self.device = device
        self.seed = seed
        self.seen: Seen | None = None
        self.images = ExperienceImages([], objective.degradation.scale, False)
        self.degradation: Degradation = objective.degradation
        self._objective = objective
        self._strategy = strategy
        self._nets = nets
        self._loss = DenoisingLoss(optimization.loss)
        self._autocast = autocast(device, optimization.bf16)
        self._inference_net = inference_net
        self._pause = pause
        # Nets with other weights, the last two: asked for in every iteration, by as many teachers.
        self._others: list[tuple[Mapping[str, Tensor], nn.Module]] = []

    @property
    def net(self) -> nn.Module:
        return self._objective.net

    def weights(self) -> Tensor:
        return torch.cat([weight.flatten() for weight in self.net.parameters()])

    def state(self) -> dict[str, Tensor]:
        return plain_state(self._inference_net(), self._nets.names)

    def net_of(self, weights: Mapping[str, Tensor]) -> Net:
        module = next((net for of, net in self._others if of is weights), None)
        if module is None:
            module = self._nets.of(weights)
            self._others = [*self._others[-1:], (weights, module)]
        kept = module

        def net(noisy: Tensor, condition: Tensor | None, level: Tensor) -> Tensor:
            with torch.no_grad(), self._autocast():
                answer: Tensor = kept(noisy, condition, level)
            return answer.float()

        return net

    def denoising_loss(self, samples: Samples, experience: int) -> Tensor:
        model = self._objective.model
        window = self._strategy.window(experience, model.schedule.steps)
        self._objective.eval()
        seen = self._objective.show(samples.to(self.device).packed(), window)
        self._objective.train()
        loss: Tensor = self._loss(seen.packed(), None)
        return loss

    def restore(
        self,
        lr: Tensor,
        seeds: Sequence[int],
        weights: Mapping[str, Tensor],
        sampling: Sampling = SAMPLING,
        batch: int = 64,
    ) -> Tensor:
        restorer = Restorer(
            self._objective.model.with_net(self._nets.of(weights)),
            self.degradation,
            sampling,
            autocast=self._autocast,
            batch=batch,
            pause=self._pause,
        )
        return restorer.restore(lr, seeds)

    def forget_nets(self) -> None:
        """Nets of other weights are for the experience that has ended."""
        self._others = []
