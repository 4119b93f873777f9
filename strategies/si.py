"""Synaptic intelligence: importance of weights from their path of training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from cl_sr.errors import InputError
from cl_sr.strategies.base import Strategy, option
from cl_sr.strategies.traits import Does, Traits


@dataclass(frozen=True)
class Si(Strategy):
    """Holds each weight by what its changes contributed to learning earlier domains.

    Zenke, Poole and Ganguli (arXiv 1703.04200), Eqs. 3 to 5. Over an experience
    `omega_i = sum -g_i dw_i`, with g the gradient of the loss without this penalty and dw an
    update's change; after it `Omega_i += max(omega_i, 0) / (Dw_i^2 + xi)`, with Dw the whole
    change. Then

        L = L(new) + weight sum_i Omega_i (w_i - w*_i)^2.

    With a moving average of the weights the path is that of the weights that are trained, and the
    whole change that of the average, which is what stays.

    Memory: a number a weight; three while an experience lasts. Time: a few per cent. The first
    experience must be trained in the same run: with `--init` and no iterations of it, there is no
    path.
    """

    traits: ClassVar[Traits] = Traits(does=frozenset({Does.HOLDS_WEIGHTS}))

    weight: float = option(1.0, "of the penalty")
    xi: float = option(1e-3, "damping of small changes, positive")

    def check(self, steps: int, shapes: Mapping[str, Sequence[int]] | None = None) -> None:
        if not 0 <= self.weight < math.inf or not 0 < self.xi < math.inf:
            raise InputError(
                f"strategy si: weight={self.weight} must be 0 or more, xi={self.xi} positive"
            )

    def plugins(self) -> list[Any]:
        from cl_sr.strategies.plugins.path_integral import PathIntegral

        return [PathIntegral(self.weight, self.xi)]
