"""Interpolation between the weights from before and after an experience."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, ClassVar

from cl_sr.errors import InputError
from cl_sr.strategies.base import Memory, Strategy, option

if TYPE_CHECKING:
    from torch import Tensor

    from cl_sr.training.template import SR3Template

FEWEST = 4  # images to choose on, where a tenth is fewer
TRIED = [k / 5 for k in range(11)]  # alphas from 0 to 2


@dataclass(frozen=True)
class WiseFt(Strategy):
    """Goes part of the way from the old weights to the new ones, or past them where that gains.

    WiSE-FT (Wortsman et al., arXiv 2109.01903), Eq. 1: `w = (1 - alpha) w_old + alpha w_new`. With
    alpha=0 (the default) it is chosen for each experience: the smallest that keeps `keep` of the
    largest gain in PSNR on `held_out` images of the new domain (at most a tenth, or 4), which are
    not trained on. Tried are steps of 0.2 up to 2: a domain that is far from learnt profits from
    going further along the line, as with task vectors (Ilharco et al., arXiv 2212.04089). Between
    them gains are interpolated. Where nothing is gained the old weights stay.

    Memory: the old weights, while the experience lasts. Time: as fine-tuning, and about 5
    evaluations on the held-out images.
    """

    plain_start: ClassVar[bool] = True

    alpha: float = option(0.0, "how far to go, 0 < alpha <= 2; 0: chosen on held-out images")
    keep: float = option(0.95, "share of the largest gain on the new domain that is kept")
    held_out: int = option(64, "images of the new domain to choose alpha on; at most a tenth, or 4")

    def check(self, steps: int) -> None:
        if not 0 <= self.alpha <= TRIED[-1] or not 0 < self.keep <= 1 or self.held_out < 1:
            raise InputError(
                "strategy wise-ft: alpha must be in [0, 2], keep in (0, 1], held_out positive"
            )

    def hold_out(self, template: SR3Template, length: int) -> int:
        if self.alpha or not template.number:
            return 0
        if length < 2:
            raise InputError(
                "strategy wise-ft: a domain of one training image has none to choose alpha on: "
                "give it as wise-ft:alpha=0.5, or take more images"
            )
        return min(self.held_out, max(FEWEST, length // 10), length // 2)

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
        start = template.quality(images, old)

        @cache
        def gain(k: int) -> float:
            if k == 0:
                return 0.0
            return template.quality(images, interpolated(old, new, TRIED[k])) - start

        # Gains rise and then fall along the way: the maximum next to the new weights is taken, and
        # what lies beyond it need not be looked at.
        best = TRIED.index(1.0)
        towards = 1 if gain(best) > gain(best - 1) else -1
        while 0 < best < len(TRIED) - 1 and gain(best + towards) > gain(best):
            best += towards
        if gain(best) <= 0:
            return 0.0
        wanted, end = self.keep * gain(best), best
        while gain(end - 1) >= wanted:
            end -= 1
        part = (wanted - gain(end - 1)) / (gain(end) - gain(end - 1))
        return TRIED[end - 1] + part * (TRIED[end] - TRIED[end - 1])


def interpolated(old: dict[str, Tensor], new: dict[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """`(1 - alpha) old + alpha new`, weight by weight."""
    return {name: old[name].lerp(new[name], alpha) for name in new}
