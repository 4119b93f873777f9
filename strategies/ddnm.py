"""Zero-shot super-resolution by DDNM: what a model reaches that never saw a pair of images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cl_sr.errors import InputError
from cl_sr.strategies.base import Memory, Strategy, option

if TYPE_CHECKING:
    from torch import Tensor

    from cl_sr.config import EvalConfig, RunConfig
    from cl_sr.training.model import Model
    from cl_sr.training.template import SR3Template


@dataclass(frozen=True)
class Ddnm(Strategy):
    """Zero-shot baseline: DDNM (arXiv 2212.00490) with an unconditional prior, no SR training.

    The prior is a file's, or is trained on the first domain's high-resolution images. The operator
    is the run's own low-resolution kernel: `Bicubic` or `AveragePool`. At each sampling step the
    prior's image is corrected to fit the input: `A+ x + (I - A+ A) y_0|t` (Eq. 13 there).

    Memory: the prior. Time: at training that of the prior; at inference `steps` of its passes.
    """

    prior: str = option("", "weights of an unconditional model; empty: train one")
    arguments: str = option("", "of its net, which the file does not tell: num_heads=1;dropout=0")
    iterations: int = option(0, "of training the prior; 0: as train.iterations for that domain")
    steps: int = option(100, "sampling steps")
    eta: float = option(0.85, "0 deterministic, 1 all noise fresh")
    travel_length: int = option(1, "steps of a time-travel")
    travel_repeat: int = option(1, "how often each is done")

    def __post_init__(self) -> None:
        if self.prior:  # so that config.yaml repeats the run from any folder
            object.__setattr__(self, "prior", os.path.abspath(os.path.expanduser(self.prior)))

    def conflict(self, other: Strategy) -> str:
        return "nothing is trained but the prior"

    def check(self, steps: int) -> None:
        from cl_sr.zero_shot.ddnm import travel_times

        if self.prior and not os.path.exists(self.prior):
            raise InputError(f"strategy ddnm: no prior {self.prior}")
        if not 0 <= self.eta <= 1:
            raise InputError(f"strategy ddnm: eta={self.eta} must be in [0, 1]")
        try:
            travel_times(steps, self.steps, self.travel_length, self.travel_repeat)
        except ValueError as error:
            raise InputError(f"strategy ddnm: {error}") from error

    def model(self, config: RunConfig) -> Model:
        from cl_sr.config import arguments
        from cl_sr.diffusion import Parametrization
        from cl_sr.models import load_prior
        from cl_sr.training.model import Model, build_model

        if config.init:
            raise InputError("strategy ddnm takes its weights as ddnm:prior=FILE, not by --init")
        if not self.prior:
            return build_model(config, conditional=False)
        prior = load_prior(self.prior, **arguments(filter(None, self.arguments.split(";"))))
        if config.data.size % prior.multiple:
            raise InputError(
                f"the prior {self.prior} needs image sizes that are multiples of "
                f"{prior.multiple}, and data.size={config.data.size} is none"
            )
        return Model(prior, prior.schedule, Parametrization(), f"prior {self.prior}", False)

    def curriculum(self, domains: Sequence[str]) -> list[tuple[str, ...]]:
        return [] if self.prior else [(domains[0],)]

    def budget(self, domains: Sequence[str], iterations: Mapping[str, int]) -> int:
        if self.iterations < 0:
            raise InputError(f"strategy ddnm: iterations={self.iterations} must not be negative")
        return self.iterations or super().budget(domains, iterations)

    def sampler(self, evaluation: EvalConfig) -> tuple[str, int | None]:
        return "ddnm", self.steps

    def restore(
        self,
        template: SR3Template,
        memory: Memory,
        condition: Tensor,
        lr: Tensor,
        seeds: Sequence[int],
    ) -> Tensor:
        from cl_sr.models import Prior, sr3_prior
        from cl_sr.zero_shot import AveragePool, Bicubic, ddnm

        net: Any = template.inference_net
        if not isinstance(net, Prior):
            model = template.model
            net = sr3_prior(net, model.schedule, model.parametrization.prediction)
        kind = AveragePool if template.kernel == "area" else Bicubic
        return ddnm(
            net,
            lr,
            kind(template.scale),
            self.steps,
            self.eta,
            self.travel_length,
            self.travel_repeat,
            seeds=seeds,
            callback=template.pause,
        )
