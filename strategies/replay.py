"""Experience replay: some images of the past stand in every batch (Rolnick et al., 1811.11682)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from cl_sr.errors import InputError
from cl_sr.strategies.base import Memory, Strategy, drawn_pairs, option, rehearsed

if TYPE_CHECKING:
    from torch import Tensor

    from cl_sr.training.template import SR3Template


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
    Low resolution is linear, so that a blend of pairs is a pair.

    Memory: `size` high-resolution images of 8 bit, or as many a domain. Time: as fine-tuning.
    """

    plain_start: ClassVar[bool] = True

    size: int = option(160, "images to keep, of all domains together; of each, with policy=each")
    ratio: float = option(0.5, "share of each batch, 0 < ratio < 1")
    policy: Literal["balanced", "each", "reservoir"] = option("balanced", "which images are kept")
    mix: bool = option(False, "whether to blend kept images with each other")

    def check(self, steps: int) -> None:
        if self.size < 1:
            raise InputError(f"strategy replay: size={self.size} must be at least 1")
        if not 0 < self.ratio < 1:
            raise InputError(f"strategy replay: ratio={self.ratio} must be between 0 and 1")

    def begin(self, template: SR3Template, memory: Memory) -> None:
        import torch

        from cl_sr.data.pairs import pack

        kept = [value.cpu() for name, value in memory.items() if name.startswith("images")]
        if kept:
            memory["pairs"] = pack(torch.cat(kept), template.scale, template.kernel)

    def rehearsal(self, template: SR3Template, memory: Memory, size: int) -> Tensor | None:
        count = rehearsed(size, self.ratio)
        pairs = drawn_pairs(memory, count, template.flip)
        others = drawn_pairs(memory, count, template.flip) if self.mix else None
        return pairs if pairs is None or others is None else blended(pairs, others)

    def end(self, template: SR3Template, memory: Memory) -> None:
        import torch

        memory.pop("pairs", None)
        new = template.training_images(self.size)[:, 3:].contiguous()
        if self.policy == "reservoir":
            # Each image has a random key, and those with the largest ones stay: a uniform sample.
            total = len(template.adapted_dataset)
            keys = torch.rand(total).sort(descending=True).values[: len(new)]
            if "images" in memory:
                new = torch.cat([memory["images"].cpu(), new])
                keys = torch.cat([memory["keys"].cpu(), keys])
            best = keys.argsort(descending=True)[: self.size]
            memory |= {"images": new[best], "keys": keys[best]}
            return
        domains = 1 if self.policy == "each" else template.number + 1
        share, more = divmod(self.size, domains)
        for k in range(template.number):
            memory[f"images.{k}"] = memory[f"images.{k}"][: share + (k < more)].clone()
        memory[f"images.{template.number}"] = new[: share + (template.number < more)].clone()


def blended(pairs: Tensor, others: Tensor) -> Tensor:
    """Each of `pairs` with one of `others`, uint8 `(B, 6, H, W)`, in random proportions."""
    import torch

    share = torch.rand(len(pairs), 1, 1, 1).to(pairs.device)  # as drawn_pairs: by the CPU
    return others.float().lerp(pairs.float(), share).round().to(torch.uint8)
