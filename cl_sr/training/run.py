"""A run from its configuration to its folder: check everything, train over the stream, report."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from avalanche.logging import BaseLogger
from avalanche.training.plugins import EvaluationPlugin
from torch import nn

from cl_sr.benchmarks import Stream, find_stream, shipped_streams
from cl_sr.config import RunConfig, budgets
from cl_sr.data.folder import Track, untracked
from cl_sr.data.prepare import DomainData, load_domain, manifest
from cl_sr.diffusion import NoiseSchedule
from cl_sr.errors import Diverged, InputError, nearest
from cl_sr.evaluation.matrix import INIT
from cl_sr.evaluation.metrics import ImageMetric, build_metrics
from cl_sr.strategies import Strategy, compose, find_strategy, spell
from cl_sr.strategies.base import rehearsed
from cl_sr.training.checkpoints import Checkpoints, Saved
from cl_sr.training.device import choose_device, use_bf16
from cl_sr.training.environment import describe, manifest_digest
from cl_sr.training.model import Model, describe_model
from cl_sr.training.results import Results
from cl_sr.training.rng import seed_everything
from cl_sr.training.run_folder import RunFolder
from cl_sr.training.stopping import StopRequest
from cl_sr.training.template import Sampling, SR3Template

MOST_RESTARTS = 3  # after divergences
STATUS_EVERY = 5.0  # seconds


@dataclass(frozen=True)
class Plan:
    """A checked run: nothing has been written yet, and nothing that the user gave is wrong."""

    config: RunConfig
    stream: Stream
    strategy: Strategy
    curriculum: list[tuple[str, ...]]
    iterations: list[int]
    device: torch.device
    folders: dict[str, Path]
    data: dict[str, DomainData]
    metrics: list[ImageMetric]
    model: Model

    def first_files(self) -> dict[str, str]:
        """What makes a folder a run that can be listed and resumed."""
        status = {"state": "starting", "iteration": 0, "of": sum(self.iterations)}
        return {"config.yaml": self.config.to_yaml(), "status.json": json.dumps(status)}

    @property
    def learnt(self) -> list[str]:
        """What each training experience is called once it is learnt."""
        return ["+".join(names) for names in self.curriculum]

    @property
    def bf16(self) -> bool:
        return use_bf16(self.config.train.precision, self.device)


def plan_run(config: RunConfig, track: Callable[[str], Track] = lambda title: untracked) -> Plan:
    """Check all that a configuration names, and read or draw its images.

    Args:
        config: the run.
        track: from a title to a function that shows how far reading or drawing has come.

    Raises:
        InputError: whatever is wrong, with the remedy.
    """
    stream = find_stream(config.stream)
    strategy = compose(find_strategy(config.strategy))
    config = config.model_copy(update={"strategy": spell(strategy, config.strategy)})
    device = choose_device(config.device)
    folders = find_folders(config, stream)
    curriculum = strategy.curriculum(stream.domain_names)
    _check_curriculum(config.strategy, curriculum, stream)
    iterations = _iterations(config, stream, strategy, curriculum)
    seed_everything(config.seed)
    model = strategy.model(config)
    if not isinstance(model, Model) or not (
        isinstance(model.net, nn.Module) and isinstance(model.schedule, NoiseSchedule)
    ):
        raise InputError(f"strategy {config.strategy}: model() must return a Model, not {model!r}")
    if config.init:
        config = describe_model(config, model)
    _check_sampler(config.strategy, strategy.sampler(config.eval))
    strategy.check(model.schedule.steps)
    if strategy.rehearsing:
        rehearsed(config.train.batch_size, 0.5)  # refuses a batch without room
    strategy.check_net({name: t.shape for name, t in model.net.state_dict().items()})
    for number in range(len(curriculum)):
        _check_window(config.strategy, strategy.window(number, model.schedule.steps), model)
    if config.eval.steps is not None and config.eval.steps > model.schedule.steps:
        raise InputError(
            f"eval.steps={config.eval.steps} is more than the {model.schedule.steps} of "
            "diffusion.steps: sample with fewer"
        )
    metrics = build_metrics(config.eval.metrics, config.eval.protocol, config.data.size, device)
    data = {}
    for domain in stream.domains:
        folder = folders.get(domain.name)
        title = f"reading {folder}" if folder else f"drawing stand-ins for {domain.name}"
        data[domain.name] = load_domain(
            domain,
            folder,
            size=config.data.size,
            scale=config.data.scale,
            standin_images=config.data.standin_images,
            how=config.data.split,
            split_seed=config.data.split_seed,
            side=config.eval.split,
            share=config.data.shares.get(domain.name, 1.0),
            copies=config.data.copies,
            memory_gb=config.data.memory_gb,
            track=track(title),
        )
    return Plan(
        config=config,
        stream=stream,
        strategy=strategy,
        curriculum=curriculum,
        iterations=iterations,
        device=device,
        folders=folders,
        data=data,
        metrics=metrics,
        model=model,
    )


def _check_curriculum(name: str, curriculum: Any, stream: Stream) -> None:
    known = set(stream.domain_names)
    if not isinstance(curriculum, list) or not all(
        isinstance(group, tuple)
        and group
        and all(isinstance(name, str) and name in known for name in group)
        and len(set(group)) == len(group)
        for group in curriculum
    ):
        raise InputError(
            f"strategy {name}: curriculum() must return a list of tuples of domains "
            f"({', '.join(known)}), not {curriculum!r}"
        )
    if len(set(curriculum)) < len(curriculum):
        raise InputError(f"strategy {name} learns the same domains twice")


def _check_sampler(name: str, sampler: Any) -> None:
    kinds = [type(part) for part in sampler] if isinstance(sampler, tuple) else []
    if kinds not in ([str, int], [str, type(None)]):
        raise InputError(
            f"strategy {name}: sampler() must return a name and a number of steps, not {sampler!r}"
        )


def _check_window(name: str, window: Any, model: Model) -> None:
    steps = model.schedule.steps
    numbers = isinstance(window, tuple) and [type(n) for n in window] == [int, int]
    if not numbers or not 0 <= window[0] < window[1] <= steps:
        raise InputError(
            f"strategy {name}: window() must return (start, stop) with 0 <= start < stop <= "
            f"{steps}, not {window!r}"
        )


def check_early(config: RunConfig) -> None:
    """What can be told of a run before anything is read or built: for one that begins much later.

    Raises:
        InputError: a folder or file is missing, or the strategy's options cannot be.
    """
    find_folders(config, find_stream(config.stream))
    if config.init is None:  # else the weights bring their schedule
        compose(find_strategy(config.strategy)).check(config.diffusion.steps)
    elif not Path(config.init).exists():
        raise InputError(f"no weights {config.init}: give another --init")


def find_folders(config: RunConfig, stream: Stream) -> dict[str, Path]:
    """The folder of each domain; empty where the stream runs on stand-ins.

    Raises:
        InputError: some folder is given, but not one for each domain; or one does not exist.
    """
    known = {name for other in shipped_streams().values() for name in other.domain_names}
    known |= set(stream.domain_names)
    for name in config.data.folders:
        if name not in known:
            raise InputError(f"--data {name}=...: no domain {name!r}: {nearest(name, known)}")
    for name in config.data.shares:
        if name not in stream.domain_names:
            there = nearest(name, stream.domain_names)
            raise InputError(f"data.shares.{name}: {stream.name} has no domain {name!r}: {there}")
    if config.data.root is None and not config.data.folders:
        return {}
    folders = {}
    for name in stream.domain_names:
        given = config.data.folders.get(name)
        if given is None and config.data.root is None:
            raise InputError(f"no folder for the domain {name}: give --data {name}=DIR")
        folder = Path(given) if given else Path(str(config.data.root)) / name
        if not folder.is_dir():
            raise InputError(f"no folder {folder} for the domain {name}: give --data {name}=DIR")
        folders[name] = folder
    return folders


def _iterations(
    config: RunConfig, stream: Stream, strategy: Strategy, curriculum: Sequence[Sequence[str]]
) -> list[int]:
    """Of each training experience."""
    names = stream.domain_names
    budget = budgets(config.train.iterations, len(names))
    if len(budget) != len(names) or not any(budget):
        raise InputError(
            f"train.iterations={budget} must have at most one number for each of the "
            f"stream's {len(names)} domains, and not only zeros"
        )
    each = dict(zip(names, budget, strict=True))
    found = [strategy.budget(group, each) for group in curriculum]
    if not all(type(budget) is int and budget >= 0 for budget in found):
        raise InputError(
            f"strategy {config.strategy}: budget() must return whole numbers, not {found}"
        )
    return found


def execute(
    plan: Plan,
    folder: RunFolder,
    *,
    plugins: Sequence[Any] = (),
    loggers: Sequence[Any] = (),
    stop: StopRequest | None = None,
    resume: bool = False,
) -> RunFolder:
    """Train over the stream and write everything but the report.

    Args:
        plan: from `plan_run`; it holds the net that is trained, so each plan is run once.
        folder: a new one, or with `resume` the one of the run that is taken up.
        plugins: further Avalanche plugins.
        loggers: further Avalanche loggers.
        stop: a request to stop.
        resume: go on from the folder's last good checkpoint, or from the start if it has none.

    Raises:
        InputError: the training diverged, the disk is full, another process has the folder, or
            what is to be resumed was made from other images.
        KeyboardInterrupt: it was asked to stop; `Stopped` if the state has been saved.
    """
    config = plan.config
    folder.check_links()
    with folder.lock(), Status(folder, sum(plan.iterations)) as status:
        if resume and (folder.path / "env.json").is_file():
            _check_origin(folder, plan)
        else:
            _write_origin(folder, plan)
        scale = 1.0
        while True:
            try:
                _train(plan, folder, status, plugins, loggers, stop, resume, scale)
                return folder
            except Diverged:
                # The rate may have been lowered by an earlier process, too.
                scale = (status.template.lr_scale if status.template else 1.0) / 2
                if config.train.on_divergence == "stop" or scale < 2.0**-MOST_RESTARTS:
                    raise
                resume = True
                seed_everything(config.seed)
                plan = replace(plan, model=plan.strategy.model(config))


def _train(
    plan: Plan,
    folder: RunFolder,
    status: Status,
    plugins: Sequence[Any],
    loggers: Sequence[Any],
    stop: StopRequest | None,
    resume: bool,
    lr_scale: float,
) -> None:
    """From the start, or from the last good checkpoint, to the end of the stream."""
    config = plan.config
    results = Results(folder, plan)
    checkpoints = Checkpoints(
        folder.path / "checkpoints",
        config.checkpoint.every,
        config.checkpoint.minutes,
        config.checkpoint.keep,
        results.logger,
    )
    saved = None
    if resume:
        saved, damaged = checkpoints.newest()
        for problem in damaged:
            warnings.warn(f"left out a damaged checkpoint: {problem}", stacklevel=2)
        lines: list[str] = []
        if saved is not None:
            _check_place(saved, plan)
            lines = saved.values["metrics"]
            try:
                results.logger.read(lines, [metric.name for metric in plan.metrics])
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise InputError(
                    f"{saved.path} is damaged ({error}): remove it to go on from an earlier one"
                ) from error
            if unsaved := saved.values.get("without_state"):
                warnings.warn(
                    f"the plugins {unsaved} have no state_dict: if they remember anything, the run "
                    "will not end as it would have without the stop",
                    stacklevel=2,
                )
        folder.write("metrics.jsonl", "".join(f"{line}\n" for line in lines))
    seed_everything(config.seed)
    # Image sizes never change within a run, batch sizes seldom: let cuDNN look for its fastest
    # kernels once for each.
    torch.backends.cudnn.benchmark = True
    benchmark = plan.stream.benchmark(
        plan.data,
        config.data.scale,
        kernel=config.data.kernel,
        flip=config.data.flip,
        test_images=config.eval.images,
        curriculum=plan.curriculum,
    )
    template = build_template(
        plan,
        benchmark.test_stream if config.eval.images else (),
        metrics=results.qualities,
        plugins=plugins,
        loggers=[results.logger, results.recorder, results, status, *loggers],
        checkpoints=checkpoints,
        stop=stop,
    )
    template.lr_scale = lr_scale
    status.template = template
    first = 0
    if saved is not None:
        template.resume(saved)
        first = saved.values["experience"]
    results.begin(plan.learnt[:first])
    for experience in list(benchmark.train_stream)[first:]:
        template.train(experience)
        learnt = "+".join(experience.domains)
        results.add(template, learnt)
        checkpoints.write_end(template, learnt)
    if not plan.curriculum:
        template.evaluate()
        results.add(template, INIT)


def _check_place(saved: Saved, plan: Plan) -> None:
    """Refuse a checkpoint that no run of this plan can have written."""
    values = saved.values
    number, done = values["experience"], values["experience_iteration"]
    budgets = [*plan.iterations, 0]
    names = [INIT, *plan.learnt]
    whole = 0 <= number < len(budgets) and 0 <= done <= budgets[number]
    if not whole or values["iteration"] != sum(budgets[:number]) + done:
        raise InputError(f"{saved.path} is not of this run: remove it to go on from another one")
    place = {"train_iterations": values["iteration"], "train_exp_counter": number}
    clock, lines = values.get("clock"), values.get("metrics")
    if (
        not isinstance(clock, dict)
        or not all(type(count) is int and count >= 0 for count in clock.values())
        or place.items() - clock.items()
        or values.get("trained_on") not in (names[number], names[min(number + 1, len(names) - 1)])
        or not isinstance(lines, list)
        or not all(isinstance(line, str) and line.isprintable() for line in lines)
        or values.get("lr_scale") not in [2.0**-n for n in range(MOST_RESTARTS + 1)]
    ):
        raise InputError(f"{saved.path} is damaged: remove it to go on from an earlier one")


def _check_origin(folder: RunFolder, plan: Plan) -> None:
    """Refuse to go on with other images than those that the run began with."""
    listing = manifest(list(plan.data.values()), plan.folders)
    if folder.read_json("env.json").get("manifest_sha256") != manifest_digest(listing):
        raise InputError(
            f"the images are no longer those that {folder.path} began with (its manifest.csv lists "
            "them): put them back, or start a new run"
        )


def build_template(
    plan: Plan,
    test_stream: Sequence[Any],
    metrics: Sequence[Any],
    plugins: Sequence[Any],
    loggers: Sequence[Any],
    checkpoints: Checkpoints | None = None,
    stop: StopRequest | None = None,
) -> SR3Template:
    """The Avalanche strategy that a plan describes."""
    train, evaluation = plan.config.train, plan.config.eval
    return SR3Template(
        net=plan.model.net,
        schedule=plan.model.schedule,
        parametrization=plan.model.parametrization,
        conditional=plan.model.conditional,
        scale=plan.config.data.scale,
        kernel=plan.config.data.kernel,
        iterations=plan.iterations,
        test_stream=test_stream,
        strategy=plan.strategy,
        sampling=Sampling(evaluation.sampler, evaluation.steps, evaluation.eta, evaluation.seed),
        seed=plan.config.seed,
        checkpoints=checkpoints,
        stop=stop,
        eval_every=evaluation.every,
        batch_size=train.batch_size,
        eval_batch_size=evaluation.batch_size,
        lr=train.lr,
        loss=plan.config.diffusion.loss,
        ema=train.ema,
        clip=train.clip,
        bf16=plan.bf16,
        device=plan.device,
        workers=train.workers,
        plugins=plugins,
        evaluator=EvaluationPlugin(*metrics, loggers=list(loggers)),
    )


def _write_origin(folder: RunFolder, plan: Plan) -> None:
    """What the run is made from: enough to repeat it, and to tell whether it was repeated."""
    listing = manifest(list(plan.data.values()), plan.folders)
    directions = {metric.name: metric.higher_is_better for metric in plan.metrics}
    folder.write("config.yaml", plan.config.to_yaml())
    folder.write("manifest.csv", listing)
    folder.write_json("env.json", describe(plan.device, plan.data, listing, directions))


class Status(BaseLogger):
    """Keeps `status.json` true, whatever happens inside its context."""

    def __init__(self, folder: RunFolder, total: int) -> None:
        super().__init__()
        self.folder = folder
        self.total = total
        self.template: SR3Template | None = None
        self._written = time.monotonic()

    def write(self, state: str, **more: Any) -> None:
        done = self.template.clock.train_iterations if self.template else 0
        status = {"state": state, "iteration": done, "of": self.total, **more}
        self.folder.write_json("status.json", status)

    def after_training_iteration(self, strategy: Any, metric_values: list[Any]) -> None:
        if time.monotonic() - self._written > STATUS_EVERY:
            self._written = time.monotonic()
            self.write("running")

    def after_eval(self, strategy: Any, metric_values: list[Any]) -> None:
        self.write("running")

    def __enter__(self) -> Status:
        self.write("running")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: Any
    ) -> None:
        if error is None:
            self.write("finished")
        elif isinstance(error, KeyboardInterrupt):
            self.write("interrupted")
        else:
            reason = f"{type(error).__name__}: {error}"
            with suppress(OSError):  # a full disk must not hide what happened
                self.write("failed", reason=" ".join(reason.split()))
