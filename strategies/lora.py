"""Low-rank adapters over frozen weights, one a domain (LoRA, arXiv 2106.09685)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from cl_sr.errors import InputError
from cl_sr.strategies.base import Strategy, option
from cl_sr.strategies.memory import Memory
from cl_sr.strategies.traits import Does, Traits

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from cl_sr.strategies.learner import Learner


@dataclass(frozen=True)
class Lora(Strategy):
    """Freezes the first domain's weights; every later one has a low-rank adapter of its own.

    Hu et al., arXiv 2106.09685, Eq. 3: `W = W_0 + B A`, with `B A` of rank `rank`. Images are
    restored with the adapter of the last domain; `router` chooses one for each image. After each
    experience the adapter is written as peft does, beside the merged weights.

    `train=factors` trains A and B, as they do. `train=weights` trains W, and `B A` is the best
    approximation of its change (Eckart and Young, 1936); the change of biases and norms is kept
    beside it. It learns as fast as fine-tuning, at its learning rate. Then a domain may start from
    the weights that the last one has (`start=last`), which a far domain profits from.

    Memory: from the second domain on the first weights, and rank * (rows + columns) numbers a layer
    and domain, fewer where a layer is narrower. Time: as fine-tuning.
    """

    traits: ClassVar[Traits] = Traits(does=frozenset({Does.SEPARATES_WEIGHTS}), plain_start=True)

    rank: int = option(16, "of the adapters")
    where: str = option("", "regular expression of the layers that get one; empty: all")
    train: Literal["factors", "weights"] = option("factors", "what is trained, see above")
    start: Literal["first", "last"] = option(
        "first", "which domain's weights a later one starts from, with train=weights"
    )
    lr: float = option(8.0, "times train.lr, with train=factors")

    def check(self, steps: int, shapes: Mapping[str, Sequence[int]] | None = None) -> None:
        if self.rank < 1 or not 0 < self.lr < math.inf:
            raise InputError(f"strategy {self.title()}: rank and lr must be positive")
        try:
            re.compile(self.where)
        except re.error as error:
            raise InputError(f"strategy {self.title()}: where={self.where}: {error}") from error
        if shapes is None:
            return
        least = 2 if self.train == "factors" else 1  # dimensions: norms have no factors
        layers = [name for name, shape in shapes.items() if len(shape) >= least]
        found = [name.removesuffix(".weight") for name in layers if name.endswith(".weight")]
        if not any(re.search(self.where, layer) for layer in found):
            raise InputError(
                f"strategy {self.title()}: where={self.where} names no layer of the net that can "
                "have an adapter: try where=ups, or leave it out"
            )

    def adapt(self, learner: Learner, memory: Memory) -> None:
        from cl_sr.models.lora import attach, merged

        if learner.number == 0:
            return
        if "base" not in memory:
            memory["base"] = learner.state()
        last: dict[str, Tensor] = memory.get(f"adapter-{learner.number - 1}", {})
        warm = self.start == "last" and self.train == "weights"
        learner.net.load_state_dict(merged(memory["base"], last if warm else {}))
        if self.train == "factors":
            attach(learner.net, self.rank, self.where)
            learner.lr *= self.lr
            return
        for name, weight in learner.net.named_parameters():
            if not re.search(self.where, name.rpartition(".")[0]):
                weight.requires_grad_(False)

    def settle(self, learner: Learner, memory: Memory) -> None:
        from cl_sr.models.lora import extract, factors, merge, merged

        if learner.number == 0:
            return
        if self.train == "factors":
            adapter = factors(learner.net)
            merge(learner.net)
        else:
            base = memory["base"]
            adapter = extract(base, learner.state(), self.rank, self.where)
            learner.net.load_state_dict(merged(base, adapter))
        memory[f"adapter-{learner.number}"] = adapter

    def export(self, learner: Learner, memory: Memory, folder: Path) -> None:
        from cl_sr.models.lora import save_peft

        adapter: dict[str, Tensor] | None = memory.get(f"adapter-{learner.number}")
        if adapter is not None:
            save_peft(folder / "adapter", adapter, memory["base"])
