"""Learning-rate schedules of PyTorch, as a plugin of Avalanche that a run can be resumed with."""

from __future__ import annotations

from typing import Any

import torch

from cl_sr.avalanche import LRSchedulerPlugin


class Scheduling(LRSchedulerPlugin):
    """Steps a scheduler after each iteration, and begins it anew at each experience.

    Args:
        scheduler: a class of `torch.optim.lr_scheduler` by name.
        arguments: of the scheduler.

    Raises:
        TypeError, ValueError: there is no such scheduler, or it does not take these arguments.
    """

    def __init__(self, scheduler: str, arguments: dict[str, Any]) -> None:
        cls = getattr(torch.optim.lr_scheduler, scheduler, None)
        if not (isinstance(cls, type) and issubclass(cls, torch.optim.lr_scheduler.LRScheduler)):
            raise ValueError(f"torch.optim.lr_scheduler has no {scheduler!r}")
        self._cls = cls
        self._arguments = arguments
        # Of an optimizer of its own until there is the run's: to see whether it can be made, and
        # steps.
        optimizer = torch.optim.Adam([torch.zeros(1)])
        super().__init__(self._make(optimizer), step_granularity="iteration")
        optimizer.step()
        self.scheduler.step()

    def _make(self, optimizer: torch.optim.Optimizer) -> Any:
        return self._cls(optimizer, **self._arguments)

    def before_training_exp(self, strategy: Any, **_: Any) -> None:
        """A scheduler for this experience's rate, which the optimizer has by now."""
        for group in strategy.optimizer.param_groups:
            group.pop("initial_lr", None)
        self.scheduler = self._make(strategy.optimizer)

    def state_dict(self) -> dict[str, Any]:
        # Without its base rates: they are the experience's, halved where that was asked for.
        state = self.scheduler.state_dict()
        return {k: v for k, v in state.items() if _plain(v) and k != "base_lrs"}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.scheduler.load_state_dict(state)


def _plain(value: Any) -> bool:
    return isinstance(value, int | float | str | list | None)
