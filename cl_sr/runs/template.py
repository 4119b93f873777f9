"""The template of a run: what trains it, and what evaluates it, also later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cl_sr.avalanche import EvaluationPlugin
from cl_sr.runs.loading import Loaded
from cl_sr.runs.results import Results
from cl_sr.stopping import StopRequest
from cl_sr.training.checkpoints import Checkpoints
from cl_sr.training.settings import Evaluation, Optimization
from cl_sr.training.template import DiffusionTemplate


def make_template(
    loaded: Loaded,
    test_stream: Sequence[Any],
    results: Results,
    *,
    loggers: Sequence[Any],
    stop: StopRequest,
    checkpoints: Checkpoints | None = None,
    plugins: Sequence[Any] = (),
) -> DiffusionTemplate:
    """By the configuration of a run.

    Args:
        loaded: the run; it holds the net.
        test_stream: Avalanche experiences to evaluate on.
        results: that measure.
        loggers: of evaluations, those of `results` among them.
        stop: a request to stop.
        checkpoints: writes states; None: nobody does.
        plugins: further Avalanche plugins.
    """
    plan = loaded.plan
    train, evaluation = plan.config.train, plan.config.eval
    return DiffusionTemplate(
        model=loaded.model,
        degradation=loaded.degradation,
        iterations=plan.iterations,
        strategy=plan.strategy,
        optimization=Optimization(
            batch_size=train.batch_size,
            lr=train.lr,
            loss=plan.config.diffusion.loss,
            ema=train.ema,
            clip=train.clip,
            bf16=loaded.bf16,
            workers=train.workers,
            flip=plan.config.data.flip,
        ),
        evaluation=Evaluation(
            stream=test_stream,
            every=evaluation.every,
            batch_size=evaluation.batch_size,
            sampling=plan.sampling,
            draws=evaluation.draws,
        ),
        seed=plan.config.seed,
        device=loaded.device,
        checkpoints=checkpoints,
        stop=stop,
        plugins=plugins,
        evaluator=EvaluationPlugin(*results.qualities, loggers=list(loggers)),
    )
