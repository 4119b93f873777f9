"""Freezing parts of the net after the first domain."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cl_sr.errors import InputError
from cl_sr.strategies.base import Strategy, option
from cl_sr.strategies.memory import Memory
from cl_sr.strategies.traits import Does, Traits

if TYPE_CHECKING:
    from cl_sr.strategies.learner import Learner


@dataclass(frozen=True)
class Freeze(Strategy):
    """Leaves some layers as the first domain made them, and fine-tunes the others.

    Yosinski et al. (arXiv 1411.1792): layers transfer between domains to different degrees. From
    the second domain on `dw_i = 0` for every weight i whose name `parts` finds. The names of SR3's
    weights begin with `noise_level_mlp`, `downs.N`, `mid.N`, `ups.N`, `final_conv`.

    Memory: none. Time: less than fine-tuning, as frozen weights need no gradient.
    """

    traits: ClassVar[Traits] = Traits(does=frozenset({Does.FREEZES_WEIGHTS}), plain_start=True)

    parts: str = option("noise_level_mlp|downs|mid", "regular expression of the weights that stay")

    def check(self, steps: int, shapes: Mapping[str, Sequence[int]] | None = None) -> None:
        try:
            re.compile(self.parts)
        except re.error as error:
            raise InputError(f"strategy freeze: parts={self.parts}: {error}") from error
        if shapes is None:
            return
        stay = [name for name in shapes if re.search(self.parts, name)]
        if len(stay) in (0, len(shapes)):
            raise InputError(
                f"strategy freeze: parts={self.parts} names {'all' if stay else 'none'} of the "
                f"weights (noise_level_mlp, downs.N, mid.N, ups.N, final_conv)"
            )

    def adapt(self, learner: Learner, memory: Memory) -> None:
        if learner.number:
            for name, weight in learner.net.named_parameters():
                if re.search(self.parts, name):
                    weight.requires_grad_(False)
