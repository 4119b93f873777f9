"""Interpolation between the weights from before and after an experience."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, ClassVar

from cl_sr.errors import InputError
from cl_sr.strategies.base import option
from cl_sr.strategies.drawing import Drawing
from cl_sr.strategies.memory import Memory
from cl_sr.strategies.traits import Does, Traits

if TYPE_CHECKING:
    from torch import Tensor

    from cl_sr.data.samples import Samples
    from cl_sr.strategies.learner import Learner

FEWEST = 4  # images to choose on, where a tenth is fewer
TRIED = [k / 5 for k in range(11)]  # alphas from 0 to 2


@dataclass(frozen=True)
class WiseFt(Drawing):
    """Goes part of the way from the old weights to the new ones, or past them where that gains.

    WiSE-FT (Wortsman et al., arXiv 2109.01903), Eq. 1: `w = (1 - alpha) w_old + alpha w_new`. With
    alpha=0 (the default) it is chosen for each experience: the smallest that keeps `keep` of the
    largest gain in PSNR on `held_out` images of the new domain (at most a tenth, or 4), which are
    not trained on. Tried are steps of 0.2 up to 2: a domain that is far from learnt profits from
    going further along the line, as with task vectors (Ilharco et al., arXiv 2212.04089). Between
    them gains are interpolated. Where nothing is gained the old weights stay.

    Memory: the old weights, while the experience lasts. Time: as fine-tuning, and drawing the
    held-out images about 5 times, in `steps` each.
    """

    traits: ClassVar[Traits] = Traits(does=frozenset({Does.MOVES_WEIGHTS}), plain_start=True)

    alpha: float = option(0.0, "how far to go, 0 < alpha <= 2; 0: chosen on held-out images")
    keep: float = option(0.95, "share of the largest gain on the new domain that is kept")
    held_out: int = option(64, "images of the new domain to choose alpha on; at most a tenth, or 4")
    seed: int = option(0, "of the first of these images' noise; the next has the next")

    def check(self, steps: int, shapes: Mapping[str, Sequence[int]] | None = None) -> None:
        if not 0 <= self.alpha <= TRIED[-1] or not 0 < self.keep <= 1 or self.held_out < 1:
            raise InputError(
                "strategy wise-ft: alpha must be in [0, 2], keep in (0, 1], held_out positive"
            )
        if not self.alpha:
            super().check(steps, shapes)

    def adapt(self, learner: Learner, memory: Memory) -> None:
        if self.alpha or not learner.number:
            return
        length = len(learner.images)
        if length < 2:
            raise InputError(
                "strategy wise-ft: a domain of one training image has none to choose alpha on: "
                "give it as wise-ft:alpha=0.5, or take more images"
            )
        learner.images.hold_out(min(self.held_out, max(FEWEST, length // 10), length // 2))

    def begin(self, learner: Learner, memory: Memory) -> None:
        if learner.number:
            memory["old"] = learner.state()

    def settle(self, learner: Learner, memory: Memory) -> None:
        if "old" not in memory:
            return
        old, new = memory.pop("old"), learner.state()
        alpha = self.alpha or self._choose(learner, old, new)
        memory[f"alpha-{learner.number}"] = alpha
        learner.net.load_state_dict(interpolated(old, new, alpha))

    def _choose(self, learner: Learner, old: dict[str, Tensor], new: dict[str, Tensor]) -> float:
        images = learner.images.held_out

        start = self._quality(learner, images, old)

        @cache
        def gain(k: int) -> float:
            if not k:
                return 0.0
            return self._quality(learner, images, interpolated(old, new, TRIED[k])) - start

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

    def _quality(self, learner: Learner, images: Samples, weights: Mapping[str, Tensor]) -> float:
        """The mean PSNR in dB of restoring images with some weights, by the protocol rgb8."""
        from cl_sr.degradations.pixels import to_floats
        from cl_sr.evaluation.metrics import MAX_PSNR, psnr

        seeds = range(self.seed, self.seed + len(images))
        restored = learner.restore(images.lr, seeds, weights, self.sampling, self.batch)
        truth = to_floats(images.hr.to(restored.device))
        values = psnr((restored + 1) / 2, (truth + 1) / 2)
        return float(values.clamp(max=MAX_PSNR).mean())


def interpolated(old: dict[str, Tensor], new: dict[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """`(1 - alpha) old + alpha new`, weight by weight."""
    return {name: old[name].lerp(new[name], alpha) for name in new}
