"""Avalanche's own plugins by name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from cl_sr.errors import InputError, nearest
from cl_sr.plugins import LOADED
from cl_sr.strategies.base import Strategy, option

if TYPE_CHECKING:
    from cl_sr.training.template import SR3Template

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
# Fit, and what to know of them.
FIT = {
    "AGEMPlugin": "patterns_per_experience, sample_size",
    "EWCPlugin": "ewc_lambda; its Fisher information shrinks with the batch: see ewc",
    "GEMPlugin": "patterns_per_experience, memory_strength",
    "LRSchedulerPlugin": "scheduler=StepLR,step_size=100 or any of torch.optim.lr_scheduler",
    "MASPlugin": "lambda_reg, alpha",
    "RWalkPlugin": "ewc_lambda, ewc_alpha, delta_t",
    "ReplayPlugin": "mem_size, batch_size, batch_size_mem",
    "SynapticIntelligencePlugin": "si_lambda, eps; see si",
}


@dataclass(frozen=True)
class Avalanche(Strategy):
    """A plugin of Avalanche, as avalanche:ReplayPlugin:mem_size=100.

    It sees the diffusion as a model of one input with one loss (`cl_sr.training.packed`). Fit are
    ReplayPlugin, SynapticIntelligencePlugin, EWCPlugin, MASPlugin, RWalkPlugin, AGEMPlugin,
    GEMPlugin, and LRSchedulerPlugin (with scheduler=NAME of torch.optim.lr_scheduler and its
    arguments; it is stepped after each iteration). What they remember is not saved, but for the
    scheduler: a run that was stopped goes on, and not with the same bits.

    Its paper and equation are the plugin's (Avalanche: Carta et al., arXiv 2302.01766), and so are
    memory and time.
    """

    plugin: str = option("", "the name of its class")
    arguments: str = option("", "of the plugin: NAME=VALUE,NAME=VALUE")

    @classmethod
    def gather(cls, values: dict[str, str]) -> dict[str, str]:
        rest = [f"{key}={value}" for key, value in values.items() if key != "plugin"]
        return {"plugin": values.get("plugin", ""), "arguments": ",".join(rest)}

    @property
    def paces(self) -> bool:
        return self.plugin == "LRSchedulerPlugin"

    @property
    def contiguous(self) -> bool:
        return self.plugin == "AGEMPlugin"  # it takes views of the gradients

    def check(self, steps: int) -> None:
        self._build(None)

    def plugins(self, template: SR3Template) -> list[Any]:
        return [self._build(template)]

    def _build(self, template: SR3Template | None) -> Any:
        """The plugin; without a template, only look whether it can be made.

        Raises:
            InputError: no such plugin, an unfit one, or arguments that it does not take.
        """
        from avalanche.training import plugins
        from qpsolvers import available_solvers

        from cl_sr.config import arguments

        if self.plugin in UNFIT:
            raise InputError(f"avalanche:{self.plugin} does not work here: {UNFIT[self.plugin]}")
        if self.plugin not in FIT:
            raise InputError(
                f"avalanche has no plugin {self.plugin!r}: {nearest(self.plugin, FIT)}"
            )
        given = arguments(filter(None, re.split(r",(?=\w+=)", self.arguments)))
        if self.plugin == "GEMPlugin" and not available_solvers:
            raise InputError("avalanche:GEMPlugin needs a solver: pip install quadprog")
        try:
            if self.plugin == "LRSchedulerPlugin":
                return _scheduler(template, given)
            cls = getattr(plugins, self.plugin)
            _check_numbers(cls, given)
            LOADED.add(inspect.getfile(cls))  # to blame, where it raises in training
            return cls(**given)
        except Exception as error:
            raise InputError(
                f"avalanche:{self.plugin}: {error}; it takes {FIT[self.plugin]}"
            ) from error


def _check_numbers(cls: Any, given: Mapping[str, Any]) -> None:
    """Avalanche itself looks at few of them, and then in the middle of a training."""
    for name, parameter in inspect.signature(cls).parameters.items():
        kinds = get_args(parameter.annotation) or (parameter.annotation,)
        number = isinstance(parameter.default, int | float) or {int, float} & set(kinds)
        value = given.get(name)
        if value is None:
            continue
        if number and not isinstance(value, int | float | list):
            raise ValueError(f"{name}={value} is not a number")
        if int in kinds and (not isinstance(value, int) or value < 1):
            raise ValueError(f"{name}={value} is not a positive whole number")
        if isinstance(value, int | float) and value < 0:
            raise ValueError(f"{name}={value} must not be negative")


def _scheduler(template: SR3Template | None, given: dict[str, Any]) -> Any:
    import torch

    from cl_sr.training.scheduling import Scheduling

    name = str(given.pop("scheduler", "StepLR"))
    if template is not None:
        return Scheduling(template.optimizer, name, given)
    # Only to see whether it can be made, and steps.
    optimizer = torch.optim.Adam([torch.zeros(1)])
    plugin = Scheduling(optimizer, name, given)
    optimizer.step()
    plugin.scheduler.step()
    return plugin
