"""Distillation on images of the past that the model itself makes: no image is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cl_sr.errors import InputError
from cl_sr.strategies.base import option, rehearsed
from cl_sr.strategies.drawing import Drawing
from cl_sr.strategies.memory import Memory, drawn, keep
from cl_sr.strategies.traits import Traits

if TYPE_CHECKING:
    from torch import Tensor

    from cl_sr.data.samples import Samples
    from cl_sr.models.objective import Seen
    from cl_sr.strategies.learner import Learner


@dataclass(frozen=True)
class GenerativeDistill(Drawing):
    """Distils on images of the past that the old net draws from statistics: none are kept.

    Generative distillation (Masip et al., arXiv 2311.14028) for a model that is conditioned on an
    image. Of each domain a Gaussian of its low-resolution images is kept (`cl_sr.models.gaussian`).
    Before the next experience low-resolution images are drawn from it, and the net, as it is then,
    restores them. These pairs are `ratio` of every batch; there the net is to answer what the old
    one, f_old, answers to the same noisy image:

        L = (1 - ratio) L(new) + ratio mean |f(x, y_t, level) - f_old(x, y_t, level)|^2.

    Memory: `components` + 1 low-resolution images as floats a domain; while an experience lasts,
    the old weights and `size` drawn pairs. Time: a forward pass for `ratio` of each batch, and the
    drawing: `size` times `steps`.
    """

    traits: ClassVar[Traits] = Traits(plain_start=True)

    size: int = option(512, "pairs to draw before each experience")
    ratio: float = option(0.3, "share of each batch, 0 < ratio < 1")
    components: int = option(64, "principal components kept of each domain")

    def check(self, steps: int, shapes: Mapping[str, Sequence[int]] | None = None) -> None:
        super().check(steps, shapes)
        if self.size < 1 or self.components < 1:
            raise InputError("strategy generative-distill: size and components must be positive")
        if not 0 < self.ratio < 1:
            raise InputError(
                f"strategy generative-distill: ratio={self.ratio} must be between 0 and 1"
            )

    def begin(self, learner: Learner, memory: Memory) -> None:
        if not learner.number:
            return
        memory["teacher"] = learner.state()
        keep(memory, self._draw(learner, memory))

    def _draw(self, learner: Learner, memory: Memory) -> Samples:
        """`size` pairs, of every earlier domain alike."""
        import torch

        from cl_sr.data.order import derived_seed
        from cl_sr.data.samples import Samples
        from cl_sr.degradations.pixels import to_bytes
        from cl_sr.models.gaussian import Gaussian

        pairs = []
        for k in range(learner.number):
            count = self.size // learner.number + (k < self.size % learner.number)
            drawn = Gaussian(**memory[f"domain-{k}"]).draw(count)
            low = drawn.view(-1, *learner.images.shape)
            low = (low * 255).round().clamp(0, 255).to(torch.uint8)
            first = derived_seed(learner.seed, learner.number, k) % 2**31
            seeds = range(first, first + count)
            images = learner.restore(low, seeds, memory["teacher"], self.sampling, self.batch)
            pairs.append(Samples(low.cpu(), to_bytes(images).cpu()))
        return Samples.join(pairs)

    def rehearsal(self, learner: Learner, memory: Memory, size: int) -> Samples | None:
        return drawn(memory, rehearsed(size, self.ratio), learner.images.flip)

    def target(self, learner: Learner, memory: Memory, seen: Seen) -> Tensor:
        rows = seen.rows.get(self.title())
        if rows is None:
            return seen.truth
        condition = None if seen.condition is None else seen.condition[rows]
        truth = seen.truth.clone()
        teacher = learner.net_of(memory["teacher"])
        truth[rows] = teacher(seen.noisy[rows], condition, seen.level[rows])
        return truth

    def end(self, learner: Learner, memory: Memory) -> None:
        from cl_sr.models.gaussian import Gaussian

        for name in ("teacher", "samples"):
            memory.pop(name, None)
        low = learner.images.low_resolution().float() / 255
        memory[f"domain-{learner.number}"] = Gaussian.fit(low, self.components).tensors()
