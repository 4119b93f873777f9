"""Noticing that numbers are none any more, without waiting for the device at every iteration."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cl_sr.errors import Diverged

LOOK_EVERY = 50  # iterations between looks


class Divergence:
    """Remembers on the device the first iteration whose loss was not finite."""

    def __init__(self, device: torch.device) -> None:
        self._first = torch.tensor(-1, device=device)

    def watch(self, loss: Tensor, net: nn.Module, iteration: int) -> None:
        """After an iteration of the run, counted from 1; from time to time `check`."""
        bad = (self._first < 0) & ~torch.isfinite(loss.detach())
        self._first = torch.where(bad, iteration, self._first)
        if iteration % LOOK_EVERY == 0:
            self.check(net, iteration)

    def check(self, net: nn.Module, iteration: int) -> None:
        """Refuse to go on with numbers that are none; on a GPU this waits for it.

        Args:
            net: that is trained.
            iteration: of the run, so far.

        Raises:
            Diverged: a loss or a weight is not finite.
        """
        first = int(self._first)
        if first >= 0:
            raise Diverged(first, "the loss is not finite")
        if not nn.utils.get_total_norm(net.parameters()).isfinite():
            raise Diverged(iteration, "the weights are not finite")
