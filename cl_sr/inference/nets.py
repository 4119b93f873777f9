"""A net with other weights: those of an expert, or of a time before."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Nets:
    """Makes nets of one architecture, for inference alone.

    Args:
        plain: a net without adapters; only what it is made of is kept.
        memory_format: of the weights that are made.
    """

    def __init__(
        self, plain: nn.Module, memory_format: torch.memory_format = torch.contiguous_format
    ) -> None:
        tensors = [*plain.parameters(), *plain.buffers()]
        empty: dict[int, Any] = {id(t): torch.empty_like(t, device="meta") for t in tensors}
        for weight in plain.parameters():
            empty[id(weight)] = nn.Parameter(empty[id(weight)], requires_grad=False)
        self._skeleton = copy.deepcopy(plain, empty).eval()
        self.memory_format = memory_format

    @property
    def names(self) -> list[str]:
        """Of the plain net's weights."""
        return list(self._skeleton.state_dict())

    def of(self, weights: Mapping[str, Tensor]) -> nn.Module:
        """The net with these weights, in evaluation mode and without gradients.

        Args:
            weights: by the names of the plain net; they are not copied where that is not needed.
        """
        net = copy.deepcopy(self._skeleton)
        net.load_state_dict(dict(weights), assign=True)
        return net.to(memory_format=self.memory_format).requires_grad_(False)
