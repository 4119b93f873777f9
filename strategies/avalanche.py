"""Avalanche's own plugins by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cl_sr.errors import InputError, nearest
from cl_sr.plugins import LOADED
from cl_sr.strategies.base import Strategy, option, other_options
from cl_sr.strategies.traits import Does, Traits
from cl_sr.yaml_text import parse_yaml

# What a plugin of Avalanche 0.6 needs that a denoiser has not got.
LABELS = "it needs class labels, and images have none"
UNFIT = {
    "BiCPlugin": LABELS,
    "CWRStarPlugin": LABELS,
    "CoPEPlugin": LABELS,
    "CurrentDataFeCAMUpdate": LABELS,
    "CurrentDataNCMUpdate": LABELS,
    "EarlyStoppingPlugin": "it looks for class accuracies; use train.iterations",
    "EvaluationPlugin": "a run has its own",
    "FeCAMOracle": LABELS,
    "FeatureDistillationPlugin": (
        "teacher and student would draw different noise; use the strategy distill"
    ),
    "FromScratchTrainingPlugin": "use the strategy from-scratch",
    "GDumbPlugin": LABELS,
    "GSS_greedyPlugin": LABELS,
    "GenerativeReplayPlugin": "it needs a generator; use the strategy generative-distill",
    "LFLPlugin": "it needs a classifier's features; use the strategy distill",
    "LwFPlugin": "it needs class scores, of which images have none; use the strategy distill",
    "MIRPlugin": LABELS,
    "MemoryFeCAMUpdate": LABELS,
    "MemoryNCMUpdate": LABELS,
    "NCMOracle": LABELS,
    "RARPlugin": LABELS,
    "TrainGeneratorAfterExpPlugin": "it needs a generator; use the strategy generative-distill",
}
SCHEDULER = "LRSchedulerPlugin"
# Fit, by name: the arguments that it takes, with a whole number or any number as their kind. Those
# of a scheduler are PyTorch's.
FIT: dict[str, dict[str, type]] = {
    "AGEMPlugin": {"patterns_per_experience": int, "sample_size": int},
    "EWCPlugin": {"ewc_lambda": float, "mode": str, "decay_factor": float,
                  "keep_importance_data": bool},
    "GEMPlugin": {"patterns_per_experience": int, "memory_strength": float},
    SCHEDULER: {},
    "MASPlugin": {"lambda_reg": float, "alpha": float, "verbose": bool},
    "RWalkPlugin": {"ewc_lambda": float, "ewc_alpha": float, "delta_t": int},
    "ReplayPlugin": {"mem_size": int, "batch_size": int, "batch_size_mem": int},
    "SynapticIntelligencePlugin": {"si_lambda": float, "eps": float, "excluded_parameters": list},
}  # fmt: skip
NEEDED = {
    "AGEMPlugin": ("patterns_per_experience", "sample_size"),
    "EWCPlugin": ("ewc_lambda",),
    "GEMPlugin": ("patterns_per_experience", "memory_strength"),
    "SynapticIntelligencePlugin": ("si_lambda",),
}
HOLDING = {"EWCPlugin", "MASPlugin", "RWalkPlugin", "SynapticIntelligencePlugin"}


@dataclass(frozen=True)
class Avalanche(Strategy):
    """A plugin of Avalanche, as avalanche:ReplayPlugin:mem_size=100.

    It sees the diffusion as a model of one input with one loss (`cl_sr.models.objective`). Fit are
    ReplayPlugin, SynapticIntelligencePlugin, EWCPlugin, MASPlugin, RWalkPlugin, AGEMPlugin,
    GEMPlugin, and LRSchedulerPlugin (with scheduler=NAME of torch.optim.lr_scheduler and its
    arguments; it is stepped after each iteration). What they remember is not saved, but for the
    scheduler: a run that was stopped goes on, and not with the same bits.

    Its paper and equation are the plugin's (Avalanche: Carta et al., arXiv 2302.01766), and so are
    memory and time.
    """

    plugin: str = option("", "the name of its class")
    arguments: dict[str, Any] = other_options("of the plugin: NAME=VALUE,NAME=VALUE")

    @property
    def traits(self) -> Traits:  # type: ignore[override]
        does = {Does.HOLDS_WEIGHTS} if self.plugin in HOLDING else set[Does]()
        does |= {Does.SETS_PACE} if self.plugin == SCHEDULER else set()
        # A-GEM takes views of the gradients.
        return Traits(does=frozenset(does), contiguous=self.plugin == "AGEMPlugin")

    def check(self, steps: int, shapes: Mapping[str, Sequence[int]] | None = None) -> None:
        if self.plugin in UNFIT:
            raise InputError(f"avalanche:{self.plugin} does not work here: {UNFIT[self.plugin]}")
        if self.plugin not in FIT:
            raise InputError(
                f"avalanche has no plugin {self.plugin!r}: {nearest(self.plugin, FIT)}"
            )
        known, given = FIT[self.plugin], self._given()
        for name in NEEDED.get(self.plugin, ()):
            if name not in given:
                raise self._wrong(f"it needs {name}")
        for name, value in given.items():
            if self.plugin != SCHEDULER and name not in known:
                raise self._wrong(f"it has no argument {name!r}")
            if value is not None:
                self._check_number(name, value, known.get(name))
        if shapes is not None:
            self.plugins()

    def _check_number(self, name: str, value: Any, kind: type | None) -> None:
        """Avalanche itself looks at few of them, and then in the middle of a training."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if kind in (int, float) and not (number or isinstance(value, list)):
            raise self._wrong(f"{name}={value} is not a number")
        if kind is int and (not isinstance(value, int) or value < 1):
            raise self._wrong(f"{name}={value} is not a positive whole number")
        if number and value < 0 and kind is not None:
            raise self._wrong(f"{name}={value} must not be negative")

    def plugins(self) -> list[Any]:
        from qpsolvers import available_solvers

        from cl_sr.avalanche import plugins

        if self.plugin == "GEMPlugin" and not available_solvers:
            raise InputError("avalanche:GEMPlugin needs a solver: pip install quadprog")
        try:
            if self.plugin == SCHEDULER:
                from cl_sr.strategies.plugins.scheduling import Scheduling

                given = self._given()
                return [Scheduling(str(given.pop("scheduler", "StepLR")), given)]
            cls = getattr(plugins, self.plugin)
            LOADED.add(inspect.getfile(cls))  # to blame, where it raises in training
            return [cls(**self._given())]
        except Exception as error:
            raise self._wrong(str(error)) from error

    def _given(self) -> dict[str, Any]:
        """The arguments; text from a command line is read as YAML.

        Raises:
            InputError: it is none.
        """
        try:
            return {
                name: parse_yaml(value) if isinstance(value, str) else value
                for name, value in self.arguments.items()
            }
        except ValueError as error:
            raise self._wrong(str(error)) from error

    def _wrong(self, why: str) -> InputError:
        takes = ", ".join(FIT[self.plugin]) or (
            "scheduler=StepLR,step_size=100 or any of torch.optim.lr_scheduler"
        )
        return InputError(f"avalanche:{self.plugin}: {why}; it takes {takes}")
