"""Exponential moving average of the weights."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class MovingAverage(AveragedModel):
    """A moving average that starts at the model's present weights.

    The decay of the n-th update is `min(decay, (1 + n) / (10 + n))`, so that a short experience
    is not dominated by the weights that it started from.

    Attributes:
        updates: n so far.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model)
        self.multi_avg_fn = self._average
        self.decay = decay
        self.updates = 0
        self.update_parameters(model)  # the first update only copies
        self.requires_grad_(False)

    def _average(self, average: Any, current: Any, _: Any) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        get_ema_multi_avg_fn(decay)(average, current, _)
