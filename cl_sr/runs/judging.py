"""Judging the saved states of a run again: as the run itself does, by other evaluation keys."""

from __future__ import annotations

import csv
import io
import json
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from cl_sr.data.folder import ImageFile, untracked
from cl_sr.data.prepare import DomainData, manifest, read_again
from cl_sr.errors import InputError
from cl_sr.evaluation.matrix import INIT
from cl_sr.image_size import sides
from cl_sr.inference.loading import on_device, read_memory
from cl_sr.models.checkpoint import GAMMAS
from cl_sr.models.description import VALUES, WEIGHTS, read_description
from cl_sr.models.weights import read_weights
from cl_sr.runs.environment import describe, manifest_digest
from cl_sr.runs.evaluation import Evaluated, EvaluationFolder, EvaluationPlan, plan_evaluation
from cl_sr.runs.loading import Loaded, Tracker, load, load_data
from cl_sr.runs.record import files_tested
from cl_sr.runs.results import Results
from cl_sr.runs.template import make_template
from cl_sr.stopping import StopRequest
from cl_sr.strategies import Strategy
from cl_sr.training.rng import isolated_rng
from cl_sr.training.template import DiffusionTemplate


def evaluate(
    run: Path | str,
    after: str | None = None,
    *,
    data: Sequence[str] = (),
    name: str | None = None,
    overwrite: bool = False,
    **keys: Any,
) -> Evaluated:
    """Judge a run again, as `cl-sr eval` does, without a word.

    Args:
        run: its folder.
        after: one state, after this domain; None: all.
        data: other images, as `--data`.
        name: of the evaluation; None: what is asked for, such as `steps-50`.
        overwrite: replace one of this name.
        keys: of the configuration: `steps=50` for `eval.steps`, `device="cpu"`, or
            `**{"train.precision": "fp32"}`.

    Raises:
        InputError: see `plan_evaluation` and `judge`.
    """
    whole = {key if "." in key or key == "device" else f"eval.{key}": v for key, v in keys.items()}
    overrides = [f"{key}={json.dumps(value)}" for key, value in whole.items()]
    plan = plan_evaluation(
        Path(run), overrides, data=data, after=after, name=name, overwrite=overwrite
    )
    if overwrite:
        plan.clear()
    return judge(plan)


def judge(
    plan: EvaluationPlan,
    *,
    loggers: Sequence[Any] = (),
    stop: StopRequest | None = None,
    tracker: Tracker = lambda title: untracked,
) -> Evaluated:
    """Judge those states that have not been yet; each is written down as soon as it is.

    Args:
        plan: from `cl_sr.runs.evaluation.plan_evaluation`.
        loggers: further Avalanche loggers.
        stop: a request to stop.
        tracker: see `cl_sr.runs.loading.load`.

    Raises:
        InputError: images or weights that are gone, a full disk, another process at work on it.
        Stopped: it was asked to stop; the states that are judged are kept.
    """
    folder = EvaluationFolder(plan.path)
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        with folder.lock(), isolated_rng():
            if todo := plan.todo:
                listing, data = _images(plan, tracker)
                loaded = load(plan.plan, tracker, data)
                _begin(plan, folder, loaded, listing)
                _judge(plan, folder, loaded, todo, loggers, stop or StopRequest())
    except OSError as error:
        raise InputError(
            f"cannot write to {plan.path}: {error.strerror}; make room or restore the permission: "
            "the same command goes on"
        ) from error
    return Evaluated(plan.record.path, plan.name)


def _begin(plan: EvaluationPlan, folder: EvaluationFolder, loaded: Loaded, listing: str) -> None:
    """Write what it is made from, or refuse to go on with other images."""
    if folder.states:
        if folder.read_json("env.json").get("manifest_sha256") != manifest_digest(listing):
            raise InputError(
                f"the images are no longer those that {folder.path} was begun with: choose another "
                "--name, or add --overwrite"
            )
        return
    record = plan.record
    config = loaded.config.model_copy(update={"init": record.settings["init"]})
    directions = {metric.name: metric.higher_is_better for metric in loaded.metrics}
    environment = describe(loaded.device, loaded.data, listing, directions)
    if plan.own_images:  # of which not all were read
        environment["data"] = record.environment["data"]
    folder.write("config.yaml", config.to_yaml())
    folder.write("manifest.csv", listing)
    folder.write_json("env.json", environment)
    if record.folder.has("costs.json"):  # of the training, which is the same
        folder.write("costs.json", record.folder.read_text("costs.json"))
    folder.put(plan, [], finished=False)


def _judge(
    plan: EvaluationPlan,
    folder: EvaluationFolder,
    loaded: Loaded,
    todo: Sequence[str],
    loggers: Sequence[Any],
    stop: StopRequest,
) -> None:
    torch.backends.cudnn.benchmark = True  # as runs do
    order, done = [INIT, *plan.plan.learnt], folder.states
    results = Results(folder, loaded)
    lines = [line for line in folder.lines if json.loads(line)["trained_on"] in done]
    results.logger.read(lines, [metric.name for metric in loaded.metrics])
    folder.write_lines(lines)
    benchmark = plan.plan.stream.benchmark(
        loaded.data, loaded.degradation, test_images=loaded.config.eval.images, curriculum=[]
    )
    every = [*results.loggers, *loggers]
    template = make_template(loaded, benchmark.test_stream, results, loggers=every, stop=stop)
    results.begin(done)
    for state in todo:
        _put(template, plan, state)
        template.evaluate()
        if state != INIT or not plan.plan.curriculum:  # which a run measures no more of
            results.measure(template, state)
        done = [known for known in order if known in (*done, state)]
        by_state = sorted(
            results.logger.lines, key=lambda line: order.index(json.loads(line)["trained_on"])
        )
        folder.write_lines(by_state)
        folder.put(plan, done, finished=state == todo[-1])


def _put(template: DiffusionTemplate, plan: EvaluationPlan, state: str) -> None:
    """Put the template where the run was when it evaluated this state."""
    template.trained_on = state
    if state == INIT:  # it is there
        template.learning = None
        return
    number = plan.plan.learnt.index(state)
    checkpoint, planned = plan.checkpoint(state), plan.plan.iterations
    if not (checkpoint / VALUES).is_file() and _has_experts(plan):
        raise InputError(
            f"{checkpoint} has lost {VALUES}, and with it what {plan.plan.title} remembers, which "
            "it restores with: judge another state (--after)"
        )
    weights = read_weights(checkpoint / WEIGHTS)
    weights.pop(GAMMAS, None)
    template.model.net.load_state_dict(weights)
    template.memory = on_device(read_memory(checkpoint), template.device)
    template.learner.number = number
    template.learning = SimpleNamespace(current_experience=number)
    done = read_description(checkpoint).iterations
    template.clock.train_iterations = done or sum(planned[: number + 1])
    template.clock.train_exp_iterations = planned[number]


def _has_experts(plan: EvaluationPlan) -> bool:
    """Whether the run's strategy restores with more than the net."""
    return any(type(part).experts is not Strategy.experts for part in plan.plan.strategy.parts)


def _images(plan: EvaluationPlan, tracker: Tracker) -> tuple[str, dict[str, DomainData]]:
    """The images to judge on, and the list of these and of those that the run was trained on."""
    record, config = plan.record, plan.plan.config
    if plan.own_images:
        names = plan.plan.stream.domain_names
        data = {name: _own(plan, number) for number, name in enumerate(names)}
        return record.folder.read_text("manifest.csv"), data
    data = {}
    for name, found in load_data(plan.plan, plan.plan.stream.domain_names, tracker).items():
        trained = set(record.hashes.get(name, ([], []))[0])
        leaked = sum(file.sha256 in trained for file in found.test_files[: config.eval.images])
        if leaked:
            shown = min(config.eval.images, len(found.test))
            warnings.warn(
                f"{leaked} of the {shown} images of {name} are among those that the run was "
                "trained on: figures on these tell what it knows by heart",
                stacklevel=2,
            )
        data[name] = replace(found, train=[], leaked=leaked)
    tested = manifest(list(data.values()), plan.plan.folders)
    return _joined(record.folder.read_text("manifest.csv"), tested), data


def _own(plan: EvaluationPlan, number: int) -> DomainData:
    """The first of a domain's test images that the run has."""
    domain, config = plan.plan.stream.domains[number], plan.plan.config
    files = files_tested(plan.record).get(domain.name, [])[: config.eval.images]
    if not files:
        raise InputError(
            f"{plan.record.path / 'manifest.csv'} lists no test images of {domain.name}"
        )
    folder, channels = plan.plan.folders.get(domain.name), config.data.channels
    height, width = sides(config.data.size)
    return DomainData(
        domain=domain,
        origin="folder" if folder else "stand-in",
        size=(height, width),
        channels=channels,
        train=[],
        test=read_again(domain, folder, files, (height, width), channels),
        test_files=[ImageFile(path, sha256, width, height, None) for path, sha256 in files],
        duplicates=0,
        leaked=0,
        unreadable=[],
        left_out={},
        side=config.eval.split,
    )


def _joined(listing: str, tested: str) -> str:
    """The training side of a run's manifest, and the images that it is judged on now."""
    out = io.StringIO()
    head, *rows = csv.reader(io.StringIO(listing))
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([head, *(row for row in rows if row[head.index("side")] == "train")])
    return out.getvalue() + tested.partition("\n")[2]
