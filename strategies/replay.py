"""Experience replay: some images of the past stand in every batch (Rolnick et al., 1811.11682)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from cl_sr.errors import InputError
from cl_sr.strategies.base import Strategy, option, rehearsed
from cl_sr.strategies.memory import Memory, drawn, keep
from cl_sr.strategies.traits import Traits

if TYPE_CHECKING:
    from cl_sr.data.samples import Samples
    from cl_sr.degradations import Degradation
    from cl_sr.strategies.learner import Learner


@dataclass(frozen=True)
class Replay(Strategy):
    """Rehearses images of earlier domains: `ratio` of every batch.

    Rolnick et al., *Experience Replay for Continual Learning* (arXiv 1811.11682). The loss is

        L = (1 - ratio) L(new images) + ratio L(kept images),

    at an unchanged batch size. `balanced` shares `size` among the domains; `each` keeps `size` of
    every domain; `reservoir` keeps a uniform sample of all images so far (Vitter, 1985), so that a
    large domain has more of them.

    `mix=true` blends every image with another kept one, in a proportion that is drawn each time
    (mixup; Zhang et al., arXiv 1710.09412, with alpha=1): so few images are not learnt by heart.

    Memory: `size` high-resolution images of 8 bit, or as many a domain. Time: as fine-tuning.
    """

    traits: ClassVar[Traits] = Traits(plain_start=True)

    size: int = option(160, "images to keep, of all domains together; of each, with policy=each")
    ratio: float = option(0.5, "share of each batch, 0 < ratio < 1")
    policy: Literal["balanced", "each", "reservoir"] = option("balanced", "which images are kept")
    mix: bool = option(False, "whether to blend kept images with each other")

    def check(self, steps: int, shapes: Mapping[str, Sequence[int]] | None = None) -> None:
        if self.size < 1:
            raise InputError(f"strategy replay: size={self.size} must be at least 1")
        if not 0 < self.ratio < 1:
            raise InputError(f"strategy replay: ratio={self.ratio} must be between 0 and 1")

    def begin(self, learner: Learner, memory: Memory) -> None:
        import torch

        from cl_sr.data.samples import Samples

        kept = [value.cpu() for name, value in memory.items() if name.startswith("images")]
        if kept:
            hr = torch.cat(kept)
            keep(memory, Samples(learner.degradation.degrade(hr), hr))

    def rehearsal(self, learner: Learner, memory: Memory, size: int) -> Samples | None:
        count = rehearsed(size, self.ratio)
        samples = drawn(memory, count, learner.images.flip)
        others = drawn(memory, count, learner.images.flip) if self.mix else None
        if samples is None or others is None:
            return samples
        return blended(samples, others, learner.degradation)

    def end(self, learner: Learner, memory: Memory) -> None:
        import torch

        memory.pop("samples", None)
        new = learner.images.draw(self.size).hr.contiguous()
        if self.policy == "reservoir":
            # Each image has a random key, and those with the largest ones stay: a uniform sample.
            total = len(learner.images)
            keys = torch.rand(total).sort(descending=True).values[: len(new)]
            if "images" in memory:
                new = torch.cat([memory["images"].cpu(), new])
                keys = torch.cat([memory["keys"].cpu(), keys])
            best = keys.argsort(descending=True)[: self.size]
            memory |= {"images": new[best], "keys": keys[best]}
            return
        domains = 1 if self.policy == "each" else learner.number + 1
        share, more = divmod(self.size, domains)
        for k in range(learner.number):
            memory[f"images.{k}"] = memory[f"images.{k}"][: share + (k < more)].clone()
        memory[f"images.{learner.number}"] = new[: share + (learner.number < more)].clone()


def blended(samples: Samples, others: Samples, degradation: Degradation) -> Samples:
    """Each of `samples` with one of `others`, in random proportions, and degraded anew."""
    import torch

    from cl_sr.data.samples import Samples

    # As for `drawn`: by the CPU's generator.
    share = torch.rand(len(samples), 1, 1, 1).to(samples.hr.device)
    mixed = others.hr.float().lerp(samples.hr.float(), share).round().to(torch.uint8)
    return Samples(degradation.degrade(mixed), mixed)
