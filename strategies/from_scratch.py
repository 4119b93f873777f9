"""Training from scratch on each domain: what a model reaches without the domains before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from cl_sr.strategies.base import Strategy
from cl_sr.strategies.traits import Does, Traits


@dataclass(frozen=True)
class FromScratch(Strategy):
    """The first random weights again at every domain: no transfer, all is forgotten.

    What fine-tuning is measured against (Saini et al., 2023, Fig. 8): `w = w_0` before every
    domain, then its loss alone. By Avalanche's `FromScratchTrainingPlugin`. With `--init` the first
    weights are those of the file.

    Memory: the first weights. Time: as fine-tuning.
    """

    traits: ClassVar[Traits] = Traits(does=frozenset({Does.RESETS_WEIGHTS}))

    def plugins(self) -> list[Any]:
        from cl_sr.avalanche import FromScratchTrainingPlugin

        return [FromScratchTrainingPlugin(reset_optimizer=False)]
