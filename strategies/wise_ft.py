"""Interpolation between the weights from before and after an experience."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cl_sr.errors import InputError
from cl_sr.strategies.base import Memory, Strategy, option

if TYPE_CHECKING:
    from torch import Tensor

    from cl_sr.training.template import SR3Template

ALPHAS = (0.0, *(k / 10 for k in range(2, 11)))


@dataclass(frozen=True)
class WiseFt(Strategy):
    """Goes only part of the way from the old weights to the new ones, as far as is needed.

    WiSE-FT (Wortsman et al., arXiv 2109.01903), Eq. 1: `w = (1 - alpha) w_old + alpha w_new`. With
    alpha=0 (the default) it is chosen for each experience among 0.2, 0.3, ..., 1: the smallest that
    keeps `keep` of the largest gain in PSNR on `held_out` images of the new domain, which are not
    trained on. The gain is often larger on the way than at its end, as with averages of weights.

    Memory: the old weights, while the experience lasts. Time: as fine-tuning, and 10 evaluations on
    the held-out images.
    """

    plain_start: ClassVar[bool] = True

    alpha: float = option(0.0, "how far to go, 0 < alpha <= 1; 0: chosen on held-out images")
    keep: float = option(0.95, "share of the largest gain on the new domain that is kept")
    held_out: int = option(64, "images of the new domain to choose alpha on")

    def check(self, steps: int) -> None:
        if not 0 <= self.alpha <= 1 or not 0 < self.keep <= 1 or self.held_out < 1:
            raise InputError(
                "strategy wise-ft: alpha must be in [0, 1], keep in (0, 1], held_out positive"
            )

    def hold_out(self, template: SR3Template, length: int) -> int:
        return min(self.held_out, length // 2) if self.alpha == 0 and template.number else 0

    def begin(self, template: SR3Template, memory: Memory) -> None:
        if template.number:
            memory["old"] = template.inference_state

    def settle(self, template: SR3Template, memory: Memory) -> None:
        if "old" not in memory:
            return
        old, new = memory.pop("old"), template.inference_state
        alpha = self.alpha or self._choose(template, old, new)
        memory[f"alpha-{template.number}"] = alpha
        template.net.load_state_dict(interpolated(old, new, alpha))

    def _choose(
        self, template: SR3Template, old: dict[str, Tensor], new: dict[str, Tensor]
    ) -> float:
        images = template.held_out_images()
        gains = {alpha: template.quality(images, interpolated(old, new, alpha)) for alpha in ALPHAS}
        start = gains.pop(0.0)
        most = max(gains.values()) - start
        wanted = self.keep * most if most > 0 else -math.inf
        return min(alpha for alpha, reached in gains.items() if reached - start >= wanted)


def interpolated(old: dict[str, Tensor], new: dict[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """`(1 - alpha) old + alpha new`, weight by weight."""
    return {name: old[name].lerp(new[name], alpha) for name in new}
