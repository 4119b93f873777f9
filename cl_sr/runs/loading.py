"""What a run needs in memory: its images, its model, its metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from cl_sr.config import RunConfig
from cl_sr.data.folder import Track, untracked
from cl_sr.data.prepare import DomainData, load_domain
from cl_sr.degradations import Degradation, build_degradation
from cl_sr.evaluation.metrics import ImageMetric, build_metrics
from cl_sr.inference.device import choose_device, use_bf16
from cl_sr.models import Model
from cl_sr.runs.model import describe_model, make_model
from cl_sr.runs.plan import Plan
from cl_sr.training.rng import seed_everything

Tracker = Callable[[str], Track]


@dataclass(frozen=True)
class Loaded:
    """A run that can begin.

    Attributes:
        plan: checked; its configuration has the architecture of weights that were read.
        device: where it is run.
        model: that is trained: each loaded run is executed once.
        degradation: that makes its low-resolution images.
        data: the images of each domain.
        metrics: of the evaluations.
    """

    plan: Plan
    device: torch.device
    model: Model
    degradation: Degradation
    data: dict[str, DomainData]
    metrics: list[ImageMetric]

    @property
    def config(self) -> RunConfig:
        return self.plan.config

    @property
    def bf16(self) -> bool:
        """Whether nets are run in bfloat16."""
        return use_bf16(self.config.train.precision, self.device)


def load(
    plan: Plan,
    tracker: Tracker = lambda title: untracked,
    data: dict[str, DomainData] | None = None,
) -> Loaded:
    """Build or read the model, and read or draw the images.

    Args:
        plan: the run.
        tracker: from a title to a function that shows how far reading or drawing has come.
        data: the images of each domain, where they have been read before.

    Raises:
        InputError: a device that is not there, weights or images that cannot be used.
    """
    config = plan.config
    device = choose_device(config.device)
    seed_everything(config.seed)
    model = make_model(plan)
    if config.init:
        config = describe_model(config, model)
        plan = replace(plan, config=config)
    metrics = build_metrics(config.eval.metrics, config.eval.protocol, config.data.size, device)
    return Loaded(
        plan=plan,
        device=device,
        model=model,
        degradation=build_degradation(config.data.kernel, config.data.scale),
        data=load_data(plan, plan.stream.domain_names, tracker) if data is None else data,
        metrics=metrics,
    )


def load_data(
    plan: Plan, names: Sequence[str], tracker: Tracker = lambda title: untracked
) -> dict[str, DomainData]:
    """The images of some domains of a run, by name.

    Raises:
        InputError: a folder that is missing, or too few images in it.
    """
    config, found = plan.config, {}
    for domain in plan.stream.domains:
        if domain.name not in names:
            continue
        folder = plan.folders.get(domain.name)
        title = f"reading {folder}" if folder else f"drawing stand-ins for {domain.name}"
        found[domain.name] = load_domain(
            domain,
            folder,
            size=config.data.size,
            scale=config.data.scale,
            channels=config.data.channels,
            standin_images=config.data.standin_images,
            how=config.data.split,
            split_seed=config.data.split_seed,
            side=config.eval.split,
            share=config.data.shares.get(domain.name, 1.0),
            copies=config.data.copies,
            memory_gb=config.data.memory_gb,
            track=tracker(title),
        )
    return found
