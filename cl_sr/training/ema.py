"""Exponential moving average of the weights."""

from __future__ import annotations

from itertools import count
from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def averaged(model: nn.Module, decay: float) -> AveragedModel:
    """A moving average that starts at the model's present weights.

    The decay of the n-th update is `min(decay, (1 + n) / (10 + n))`, so that a short experience
    is not dominated by the weights that it started from.
    """
    updates = count(1)

    def update(average: Any, current: Any, _: Any) -> None:
        n = next(updates)
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(average, current, _)

    average = AveragedModel(model, multi_avg_fn=update)
    average.update_parameters(model)  # the first update only copies
    return average.requires_grad_(False)
