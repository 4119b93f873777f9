"""A run from what was loaded to its folder: train over the stream, and write what was found."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from cl_sr.errors import Diverged, InputError
from cl_sr.evaluation.matrix import INIT
from cl_sr.runs.folder import RunFolder
from cl_sr.runs.loading import Loaded
from cl_sr.runs.model import make_model
from cl_sr.runs.origin import check_origin, write_origin
from cl_sr.runs.results import Results
from cl_sr.runs.status import Status
from cl_sr.runs.template import make_template
from cl_sr.stopping import StopRequest
from cl_sr.training import state
from cl_sr.training.checkpoints import Checkpoints, Saved
from cl_sr.training.rng import isolated_rng, seed_everything
from cl_sr.training.template import DiffusionTemplate

MOST_RESTARTS = 3  # after divergences


def execute(
    loaded: Loaded,
    folder: RunFolder,
    *,
    plugins: Sequence[Any] = (),
    loggers: Sequence[Any] = (),
    stop: StopRequest | None = None,
    resume: bool = False,
) -> RunFolder:
    """Train over the stream and write everything but the report.

    Args:
        loaded: from `cl_sr.runs.loading.load`; it holds the net that is trained, and is used once.
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
    config = loaded.config
    folder.check_links()
    with folder.lock(), Status(folder, sum(loaded.plan.iterations)) as status:
        if resume and folder.has("env.json"):
            check_origin(folder, loaded)
        else:
            write_origin(folder, loaded)
        scale = 1.0
        while True:
            run = _Run(loaded, folder, status, [*plugins], [*loggers], stop or StopRequest())
            try:
                run.train(resume, scale)
                return folder
            except Diverged:
                # The rate may have been lowered by an earlier process, too.
                scale = (status.template.lr_scale if status.template else 1.0) / 2
                if config.train.on_divergence == "stop" or scale < 2.0**-MOST_RESTARTS:
                    raise
                resume = True
                seed_everything(config.seed)
                loaded = replace(loaded, model=make_model(loaded.plan))


class _Run:
    """One attempt to come to the end of the stream."""

    def __init__(
        self,
        loaded: Loaded,
        folder: RunFolder,
        status: Status,
        plugins: list[Any],
        loggers: list[Any],
        stop: StopRequest,
    ) -> None:
        self.loaded = loaded
        self.folder = folder
        self.status = status
        self.plugins = plugins
        self.stop = stop
        self.results = Results(folder, loaded)
        self.loggers = [*self.results.loggers, status, *loggers]
        self.checkpoints = self._checkpoints()

    def train(self, resume: bool, lr_scale: float) -> None:
        """From the start, or from the last good checkpoint, to the end of the stream."""
        plan = self.loaded.plan
        saved = self._take_up() if resume else None
        seed_everything(plan.config.seed)
        # Image sizes never change within a run, batch sizes seldom: let cuDNN look for its fastest
        # kernels once for each.
        torch.backends.cudnn.benchmark = True
        benchmark = plan.stream.benchmark(
            self.loaded.data,
            self.loaded.degradation,
            flip=plan.config.data.flip,
            test_images=plan.config.eval.images,
            curriculum=[names for names, _ in plan.curriculum],
        )
        test_stream = benchmark.test_stream if plan.config.eval.images else ()
        template = self._template(self.loaded, test_stream)
        template.lr_scale = lr_scale
        self.status.template = template
        first = 0
        if saved is not None:
            template.resume(saved)
            first = saved.values["experience"]
        self.results.begin(plan.learnt[:first])
        if self.results.logger.latest:
            with isolated_rng():
                self._make_up(list(benchmark.train_stream)[:first], test_stream)
        for experience in list(benchmark.train_stream)[first:]:
            template.train(experience)
            learnt = "+".join(experience.domains)
            self.results.add(template, learnt)
            self.checkpoints.write_end(template, learnt)
        if not plan.curriculum:
            template.evaluate()
            self.results.add(template, INIT)

    def _make_up(self, learnt: Sequence[Any], test_stream: Sequence[Any]) -> None:
        """Evaluate what the stream lacked, when these experiences had been learnt.

        Of a run that goes on from another with further domains; with the weights of then.
        """
        names = [INIT, *self.loaded.plan.learnt[: len(learnt)]]
        for after, experience in zip(names, [None, *learnt], strict=True):
            missing = self.results.missing(after)
            stream = [test for test in test_stream if test.domains[0] in missing]
            if not stream:
                continue
            # Of its own: plugins of the other are still to see the first weights.
            with_own_model = replace(self.loaded, model=copy.deepcopy(self.loaded.model))
            template = self._template(with_own_model, stream)
            if experience is not None:
                template.learning = experience
                self.checkpoints.after(after).put_back(state.restore_between, template)
            template.evaluate()
            if experience is not None:
                self.results.measure(template, after)
            self.results.made_up()

    def _checkpoints(self) -> Checkpoints:
        plan = self.loaded.plan
        config = plan.config
        about = {
            "degradation": config.data.kernel,
            "scale": config.data.scale,
            "strategy": [choice.plain() for choice in config.strategy],
            "sampling": plan.sampling,
        }
        return Checkpoints(
            self.folder.path / "checkpoints",
            config.checkpoint.every,
            config.checkpoint.minutes,
            config.checkpoint.keep,
            self.results.logger,
            about,
            plan.learnt,
        )

    def _template(self, loaded: Loaded, test_stream: Sequence[Any]) -> DiffusionTemplate:
        return make_template(
            loaded,
            test_stream,
            self.results,
            loggers=self.loggers,
            stop=self.stop,
            checkpoints=self.checkpoints,
            plugins=self.plugins,
        )

    def _take_up(self) -> Saved | None:
        """The last good checkpoint; what was measured since then is taken back."""
        saved, damaged = self.checkpoints.newest()
        for problem in damaged:
            warnings.warn(f"left out a damaged checkpoint: {problem}", stacklevel=2)
        lines: list[str] = []
        if saved is not None:
            self._check_place(saved)
            lines = saved.values["metrics"]
            try:
                names = [metric.name for metric in self.loaded.metrics]
                self.results.logger.read(lines, names)
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
        self.folder.write("metrics.jsonl", "".join(f"{line}\n" for line in lines))
        return saved

    def _check_place(self, saved: Saved) -> None:
        """Refuse a checkpoint that no run of this plan can have written."""
        plan, values = self.loaded.plan, saved.values
        number, done = values["experience"], values["experience_iteration"]
        budgets = [*plan.iterations, 0]
        names = [INIT, *plan.learnt]
        whole = 0 <= number < len(budgets) and 0 <= done <= budgets[number]
        if not whole or values["iteration"] != sum(budgets[:number]) + done:
            raise InputError(
                f"{saved.path} is not of this run: remove it to go on from another one"
            )
        place = {"train_iterations": values["iteration"], "train_exp_counter": number}
        clock, lines = values.get("clock"), values.get("metrics")
        if (
            not isinstance(clock, dict)
            or not all(type(count) is int and count >= 0 for count in clock.values())
            or place.items() - clock.items()
            or values.get("trained_on")
            not in (names[number], names[min(number + 1, len(names) - 1)])
            or not isinstance(lines, list)
            or not all(isinstance(line, str) and line.isprintable() for line in lines)
            or values.get("lr_scale") not in [2.0**-n for n in range(MOST_RESTARTS + 1)]
        ):
            raise InputError(f"{saved.path} is damaged: remove it to go on from an earlier one")
