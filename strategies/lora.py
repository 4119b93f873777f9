"""Low-rank adapters over frozen weights, one a domain (LoRA, arXiv 2106.09685)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from cl_sr.errors import InputError
from cl_sr.strategies.base import Memory, Strategy, option

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from cl_sr.training.template import SR3Template


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

    plain_start: ClassVar[bool] = True

    rank: int = option(16, "of the adapters")
    where: str = option("", "regular expression of the layers that get one; empty: all")
    train: Literal["factors", "weights"] = option("factors", "what is trained, see above")
    start: Literal["first", "last"] = option(
        "first", "which domain's weights a later one starts from, with train=weights"
    )
    lr: float = option(8.0, "times train.lr, with train=factors")

    def check(self, steps: int) -> None:
        if self.rank < 1 or not 0 < self.lr < math.inf:
            raise InputError(f"strategy {self.title()}: rank and lr must be positive")
        try:
            re.compile(self.where)
        except re.error as error:
            raise InputError(f"strategy {self.title()}: where={self.where}: {error}") from error

    def check_net(self, shapes: Mapping[str, Sequence[int]]) -> None:
        least = 2 if self.train == "factors" else 1  # dimensions: norms have no factors
        layers = [name for name, shape in shapes.items() if len(shape) >= least]
        found = [name.removesuffix(".weight") for name in layers if name.endswith(".weight")]
        if not any(re.search(self.where, layer) for layer in found):
            raise InputError(
                f"strategy {self.title()}: where={self.where} names no layer of the net that can "
                "have an adapter: try where=ups, or leave it out"
            )

    def conflict(self, other: Strategy) -> str:
        if isinstance(other, Lora):
            return "each adapts the first domain's weights in its way"
        if other.title() == "wise-ft":
            return "an adapter is kept as it was trained, not part of the way"
        penalties = {"EWCPlugin", "MASPlugin", "RWalkPlugin", "SynapticIntelligencePlugin"}
        held = other.title() in {"ewc", "l2-sp", "si"}
        if held or getattr(other, "plugin", "") in penalties:
            return f"every domain has weights of its own, and {other.title()} would hold them"
        if other.title() == "freeze":
            return "where=REGEX says which layers are trained"
        return "an adapter starts from earlier weights" if other.title() == "from-scratch" else ""

    def learning_rate(self, experience: int, rate: float) -> float:
        return rate * self.lr if experience and self.train == "factors" else rate

    def adapt(self, template: SR3Template, memory: Memory) -> None:
        from cl_sr.models.lora import attach, merged

        if template.number == 0:
            return
        if "base" not in memory:
            memory["base"] = template.inference_state
        last: dict[str, Tensor] = memory.get(f"adapter-{template.number - 1}", {})
        warm = self.start == "last" and self.train == "weights"
        template.net.load_state_dict(merged(memory["base"], last if warm else {}))
        if self.train == "factors":
            attach(template.net, self.rank, self.where)
            return
        for name, weight in template.net.named_parameters():
            weight.requires_grad_(bool(re.search(self.where, name.rpartition(".")[0])))

    def settle(self, template: SR3Template, memory: Memory) -> None:
        from cl_sr.models.lora import extract, factors, merge, merged

        if template.number == 0:
            return
        if self.train == "factors":
            adapter = factors(template.net)
            merge(template.net)
        else:
            base = memory["base"]
            adapter = extract(base, template.inference_state, self.rank, self.where)
            template.net.load_state_dict(merged(base, adapter))
        memory[f"adapter-{template.number}"] = adapter

    def export(self, template: SR3Template, memory: Memory, folder: Path) -> None:
        from cl_sr.models.lora import save_peft

        adapter: dict[str, Tensor] | None = memory.get(f"adapter-{template.number}")
        if adapter is not None:
            save_peft(folder / "adapter", adapter, memory["base"])
