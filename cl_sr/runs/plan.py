"""A run that is checked: all that can be wrong in it is told before torch is imported."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cl_sr.benchmarks import Stream, find_stream, shipped_streams
from cl_sr.config import RunConfig, budgets
from cl_sr.diffusion.sampling import Sampling
from cl_sr.errors import InputError, nearest
from cl_sr.evaluation.names import check_metrics
from cl_sr.image_size import spelled
from cl_sr.models.description import Description, is_checkpoint, read_description
from cl_sr.models.family import find_family
from cl_sr.models.places import weights_at
from cl_sr.strategies import Choice, Composition, find_strategy, spell, typed
from cl_sr.strategies.base import rehearsed


@dataclass(frozen=True)
class Plan:
    """A checked run: nothing has been read or written yet.

    Attributes:
        config: with the options of strategies as they took them.
        stream: of domains.
        strategy: what is done against forgetting.
        curriculum: the domains of each training experience, and its iterations.
        folders: of each domain; empty where the stream runs on stand-ins.
    """

    config: RunConfig
    stream: Stream
    strategy: Composition
    curriculum: list[tuple[tuple[str, ...], int]]
    folders: dict[str, Path]

    @property
    def title(self) -> str:
        """The strategies with their options, as on the command line."""
        return spell(self.config.strategy)

    @property
    def iterations(self) -> list[int]:
        """Of each training experience."""
        return [count for _, count in self.curriculum]

    @property
    def learnt(self) -> list[str]:
        """What each training experience is called once it is learnt."""
        return ["+".join(names) for names, _ in self.curriculum]

    @property
    def sampling(self) -> Sampling:
        """How images are drawn at each evaluation."""
        evaluation, zero_shot = self.config.eval, self.strategy.traits.zero_shot
        if zero_shot is not None:
            return replace(zero_shot.sampling, seed=evaluation.seed)
        return Sampling(evaluation.sampler, evaluation.steps, evaluation.eta, evaluation.seed)

    def first_files(self) -> dict[str, str]:
        """What makes a folder a run that can be listed and resumed."""
        status = {"state": "starting", "iteration": 0, "of": sum(self.iterations)}
        return {"config.yaml": self.config.to_yaml(), "status.json": json.dumps(status)}


def check(config: RunConfig) -> Plan:
    """Check all that a configuration names, without reading images or weights.

    Raises:
        InputError: whatever is wrong, with the remedy.
    """
    stream = find_stream(config.stream)
    choices, strategy = _strategies(config)
    config = config.model_copy(update={"strategy": choices})
    folders = find_folders(config, stream)
    names = stream.domain_names
    budget = budgets(config.train.iterations, len(names))
    if len(budget) != len(names) or not any(budget):
        raise InputError(
            f"train.iterations={budget} must have at most one number for each of the "
            f"stream's {len(names)} domains, and not only zeros"
        )
    curriculum = strategy.curriculum(dict(zip(names, budget, strict=True)))
    plan = Plan(config, stream, strategy, curriculum, folders)
    if strategy.rehearsing:
        rehearsed(config.train.batch_size, 0.5)  # refuses a batch without room
    check_metrics(config.eval.metrics)
    steps = _check_model(plan)
    if steps is not None:
        check_steps(plan, steps)
    return plan


def _strategies(config: RunConfig) -> tuple[tuple[Choice, ...], Composition]:
    parts = [find_strategy(choice) for choice in config.strategy]
    choices = tuple(
        typed(choice, part) for choice, part in zip(config.strategy, parts, strict=True)
    )
    return choices, Composition(tuple(parts))


def check_steps(plan: Plan, steps: int) -> None:
    """Refuse what cannot be with a schedule of `steps` time-steps.

    Raises:
        InputError: a window, a sampling, or an option of a strategy.
    """
    plan.strategy.check(steps)
    for number in range(len(plan.curriculum)):
        plan.strategy.window(number, steps)
    if plan.strategy.traits.zero_shot is None and (plan.config.eval.steps or 1) > steps:
        raise InputError(
            f"eval.steps={plan.config.eval.steps} is more than the {steps} of "
            "diffusion.steps: sample with fewer"
        )


def _check_model(plan: Plan) -> int | None:
    """Refuse a model that cannot be made; its time-steps, where they are known already."""
    config, zero_shot = plan.config, plan.strategy.traits.zero_shot
    if config.init is not None:
        if zero_shot is not None:
            raise InputError("strategy ddnm takes its weights as ddnm:prior=FILE, not by --init")
        return _check_init(config)
    try:
        config.diffusion.check()
    except ValueError as error:
        raise InputError(f"the keys diffusion.* make no noise schedule: {error}") from error
    if zero_shot is not None and zero_shot.prior:
        plan.strategy.check(config.diffusion.steps)
        return None
    try:
        family = find_family(config.model.family)
        data = config.data
        family.arguments(config.model, data.size, zero_shot is None, data.channels)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"the keys model.* make no net: {error}") from error
    return config.diffusion.steps


def _check_init(config: RunConfig) -> int | None:
    """What a checkpoint of ours, or a file of others, tells before it is read."""
    path = weights_at(str(config.init))
    if not path.exists() or (path.is_dir() and not is_checkpoint(path)):
        raise InputError(
            f"{path}: no weights here; give a folder with model.safetensors and config.json, "
            "such as RUN/checkpoints/celeba, or a *_gen.pth of the public SR3 code"
        )
    if path.is_file():
        return None
    about = read_description(path)
    check_fit(config, about)
    return about.steps


def check_fit(config: RunConfig, about: Description) -> None:
    """Refuse weights that contradict a run.

    Raises:
        InputError: a prior, or other sizes or channels.
    """
    path, size = config.init, config.data.size
    colours = {1: "grey images", 3: "colour images"}
    if not about.conditional:
        raise InputError(
            f"--init {path}: an unconditional network of {colours[about.channels]} (channels in "
            f"and out: {about.channels}) cannot super-resolve; it is a prior for --strategy "
            "ddnm:prior=FILE"
        )
    if about.channels != config.data.channels:
        raise InputError(
            f"--init {path} is for {colours[about.channels]} ({2 * about.channels} channels in, "
            f"{about.channels} out), and this run is at data.channels={config.data.channels}: set "
            f"data.channels={about.channels}"
        )
    if about.image_size is not None and about.image_size != size:
        raise InputError(
            f"--init {path} was trained at {spelled(about.image_size)} pixels, and this run is "
            f"at data.size={spelled(size)}: set data.size={spelled(about.image_size)}"
        )
    if about.scale not in (None, config.data.scale):
        raise InputError(
            f"--init {path} was trained for scale {about.scale}, and this run is at "
            f"data.scale={config.data.scale}: set data.scale={about.scale}"
        )


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
        return _none(stream)
    folders = {}
    for name in stream.domain_names:
        given = config.data.folders.get(name)
        if given is None and config.data.root is None:
            raise InputError(f"no folder for the domain {name}: give --data {name}=DIR")
        folder = Path(given) if given else Path(str(config.data.root)) / name
        if not folder.is_dir():
            raise InputError(f"no folder {folder} for the domain {name}: give --data {name}=DIR")
        folders[name] = folder
    _check_images(folders)
    return folders


def _none(stream: Stream) -> dict[str, Path]:
    for domain in stream.domains:
        if domain.standin is None:
            raise InputError(
                f"the domain {domain.name} has no stand-in: give its images with "
                f"--data {domain.name}=DIR"
            )
    return {}


def _check_images(folders: dict[str, Path]) -> None:
    from cl_sr.data.folder import any_image  # numpy, which runs on stand-ins do without here

    for name, folder in folders.items():
        try:
            there = any_image(folder)
        except OSError as error:
            raise InputError(
                f"cannot read {folder}: {error.strerror}; give another with --data {name}=DIR"
            ) from error
        if not there:
            raise InputError(
                f"{folder}: no images (jpg, png, webp, bmp, tif) for the domain {name}: give "
                f"another with --data {name}=DIR"
            )


def check_all(configs: Sequence[RunConfig]) -> None:
    """Check many runs, of which some begin much later.

    Raises:
        InputError: of the first that cannot be.
    """
    for config in configs:
        check(config)
