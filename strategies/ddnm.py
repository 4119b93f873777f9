"""Zero-shot super-resolution by DDNM: what a model reaches that never saw a pair of images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cl_sr.diffusion.sampling import DDNM, Sampling
from cl_sr.errors import InputError
from cl_sr.models.places import weights_at
from cl_sr.models.training_noise import split_arguments
from cl_sr.strategies.base import Strategy, option
from cl_sr.strategies.traits import Does, Traits, ZeroShot
from cl_sr.yaml_text import arguments


@dataclass(frozen=True)
class Ddnm(Strategy):
    """Zero-shot baseline: DDNM (arXiv 2212.00490) with an unconditional prior, no SR training.

    The prior is a file's, or is trained on the first domain's high-resolution images. The operator
    is the run's own degradation: `Bicubic` or `AveragePool`. At each sampling step the prior's
    image is corrected to fit the input: `A+ x + (I - A+ A) y_0|t` (Eq. 13 there).

    Memory: the prior. Time: at training that of the prior; at inference `steps` of its passes.
    """

    prior: str = option("", "weights of an unconditional model; empty: train one")
    arguments: str = option(
        "",
        "what its file does not tell, of its net and of its training: "
        "num_heads=1;noise_schedule=cosine;diffusion_steps=4000",
    )
    iterations: int = option(0, "of training the prior; 0: as train.iterations for that domain")
    steps: int = option(100, "sampling steps")
    eta: float = option(0.85, "0 deterministic, 1 all noise fresh")
    travel_length: int = option(1, "steps of a time-travel")
    travel_repeat: int = option(1, "how often each is done")

    def __post_init__(self) -> None:
        if self.prior:  # so that config.yaml repeats the run from any folder
            object.__setattr__(self, "prior", os.path.abspath(os.path.expanduser(self.prior)))

    @property
    def traits(self) -> Traits:  # type: ignore[override]
        sampling = Sampling(
            DDNM,
            self.steps,
            self.eta,
            travel_length=self.travel_length,
            travel_repeat=self.travel_repeat,
        )
        given = arguments(filter(None, self.arguments.split(";")))
        return Traits(
            does=frozenset({Does.TRAINS_A_PRIOR}),
            zero_shot=ZeroShot(sampling, self.prior, given),
        )

    def check(self, steps: int, shapes: Mapping[str, Sequence[int]] | None = None) -> None:
        if self.prior and not weights_at(self.prior).exists():
            raise InputError(f"strategy ddnm: no file {self.prior}: give prior=FILE")
        zero_shot = self.traits.zero_shot
        assert zero_shot is not None
        split_arguments(zero_shot.arguments)
        if self.arguments and not self.prior:
            raise InputError("strategy ddnm: arguments are of a prior's file: give prior=FILE")
        if self.prior and shapes is None:
            return  # its file tells how many time-steps there are
        try:
            zero_shot.sampling.check(steps)
        except ValueError as error:
            raise InputError(f"strategy ddnm: {error}") from error

    def curriculum(self, iterations: Mapping[str, int]) -> list[tuple[tuple[str, ...], int]]:
        if self.iterations < 0:
            raise InputError(f"strategy ddnm: iterations={self.iterations} must not be negative")
        if self.prior:
            return []
        first = next(iter(iterations))
        return [((first,), self.iterations or iterations[first])]
