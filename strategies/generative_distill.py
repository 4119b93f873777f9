"""Distillation on images of the past that the model itself makes: no image is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cl_sr.errors import InputError
from cl_sr.strategies.base import Memory, Strategy, drawn_pairs, option, rehearsed

if TYPE_CHECKING:
    from torch import Tensor

    from cl_sr.training.packed import Seen
    from cl_sr.training.template import SR3Template


@dataclass(frozen=True)
class GenerativeDistill(Strategy):
    """Distils on images of the past that the old net draws from statistics: none are kept.

    Generative distillation (Masip et al., arXiv 2311.14028) for a model that is conditioned on an
    image. Of each domain a Gaussian of its low-resolution images is kept (`cl_sr.models.gaussian`).
    Before the next experience low-resolution images are drawn from it, and the net, as it is then,
    restores them. These pairs are `ratio` of every batch; there the net is to answer what the old
    one, f_old, answers to the same noisy image:

        L = (1 - ratio) L(new) + ratio mean |f(x, y_t, level) - f_old(x, y_t, level)|^2.

    Memory: `components` + 1 low-resolution images as floats a domain; while an experience lasts,
    the old weights and `size` drawn pairs. Time: a forward pass for `ratio` of each batch, and the
    drawing: `size` times the evaluation's sampling steps.
    """

    plain_start: ClassVar[bool] = True

    size: int = option(512, "pairs to draw before each experience")
    ratio: float = option(0.3, "share of each batch, 0 < ratio < 1")
    components: int = option(64, "principal components kept of each domain")

    def check(self, steps: int) -> None:
        if self.size < 1 or self.components < 1:
            raise InputError("strategy generative-distill: size and components must be positive")
        if not 0 < self.ratio < 1:
            raise InputError(
                f"strategy generative-distill: ratio={self.ratio} must be between 0 and 1"
            )

    def begin(self, template: SR3Template, memory: Memory) -> None:
        if not template.number:
            return
        memory["teacher"] = template.inference_state
        memory["pairs"] = self._draw(template, memory)

    def _draw(self, template: SR3Template, memory: Memory) -> Tensor:
        """Pairs of every earlier domain, uint8 `(size, 6, H, W)`."""
        import torch

        from cl_sr.data.order import derived_seed
        from cl_sr.data.resize import upsample
        from cl_sr.models.gaussian import Gaussian

        teacher = template.net_of(memory["teacher"])
        pairs = []
        for k in range(template.number):
            count = self.size // template.number + (k < self.size % template.number)
            drawn = Gaussian(**memory[f"domain-{k}"]).draw(count)
            side = round((drawn.shape[1] // 3) ** 0.5)
            low = (drawn.view(-1, 3, side, side) * 255).round().clamp(0, 255).to(torch.uint8)
            conditions = upsample(low.cpu(), template.scale)
            first = derived_seed(template.seed, template.number, k) % 2**31
            for start in range(0, count, template.eval_mb_size):
                condition = conditions[start : start + template.eval_mb_size]
                seeds = range(first + start, first + start + len(condition))
                shown = condition.to(template.device).float() / 127.5 - 1
                image = template.sample(shown, seeds, teacher)
                image = ((image + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
                pairs.append(torch.cat([condition, image.cpu()], dim=1))
        return torch.cat(pairs)

    def rehearsal(self, template: SR3Template, memory: Memory, size: int) -> Tensor | None:
        return drawn_pairs(memory, rehearsed(size, self.ratio), template.flip)

    def target(self, template: SR3Template, memory: Memory, seen: Seen) -> Tensor:
        rows = seen.rows.get(self.title())
        if rows is None:
            return seen.truth
        condition = None if seen.condition is None else seen.condition[rows]
        truth = seen.truth.clone()
        teacher = template.net_of(memory["teacher"])
        truth[rows] = teacher(seen.noisy[rows], condition, seen.level[rows])
        return truth

    def end(self, template: SR3Template, memory: Memory) -> None:
        from cl_sr.models.gaussian import Gaussian

        for name in ("teacher", "pairs"):
            memory.pop(name, None)
        low = template.low_resolution_images().float() / 255
        memory[f"domain-{template.number}"] = Gaussian.fit(low, self.components).tensors()
