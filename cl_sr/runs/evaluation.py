"""Judging a run again: which states, by which settings, under which name. Needs no torch.

What it finds stands beside the run, in `RUN/evaluations/NAME`: the files of a run's folder that
tell results, and `evaluation.json` in the place of `status.json`.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cl_sr.config import RunConfig, pick, put_all, put_data, resolve, split_override
from cl_sr.errors import InputError, nearest
from cl_sr.evaluation.matrix import INIT
from cl_sr.files import check_writable, read_json
from cl_sr.models.description import is_checkpoint
from cl_sr.runs.folder import RunFolder
from cl_sr.runs.plan import Plan, check
from cl_sr.runs.record import Record, files_tested

FOLDER, FILE = "evaluations", "evaluation.json"
NEVER = {"eval.every": "says when a run is evaluated while it trains"}
# Where it is judged; of these precision alone changes numbers.
MEMORY = "data.memory_gb"
PLACES = ("device", "train.precision", "data.root", MEMORY)
ABOUT = ("state", "states", "of", "settings", "command")
SHOWN = ("eval.every", "eval.samples")  # no number depends on them
NAME = r"[A-Za-z0-9][\w.+-]{0,99}"


class EvaluationFolder(RunFolder):
    """One evaluation on disk, or a place for one."""

    @property
    def states(self) -> list[str]:
        """Those that are judged, in the order of training."""
        if not self.has(FILE):
            return []
        states = self.read_json(FILE).get("states")
        if not isinstance(states, list) or not all(isinstance(state, str) for state in states):
            raise InputError(f"{self.path / FILE} is damaged: add --overwrite")
        return states

    @property
    def lines(self) -> list[str]:
        """Of `metrics.jsonl`; one that a kill has cut short is left out."""
        if not self.has("metrics.jsonl"):
            return []
        return [line for line in self.read_text("metrics.jsonl").splitlines() if line[-1:] == "}"]

    def write_lines(self, lines: Sequence[str]) -> None:
        """Replace `metrics.jsonl`."""
        self.write("metrics.jsonl", "".join(f"{line}\n" for line in lines))

    def put(self, plan: EvaluationPlan, states: Sequence[str], finished: bool) -> None:
        """Write down which states are judged now."""
        about = {
            "state": "finished" if finished else "unfinished",
            "states": list(states),
            "of": plan.states,
            "settings": plan.settings,
            "command": plan.command,
        }
        self.write_json(FILE, about)


class Evaluated(Record):
    """What judging a run again has found: its results, by the evaluation's settings.

    Args:
        run: the run's folder.
        name: of the evaluation.

    Raises:
        InputError: there is none of this name.
    """

    def __init__(self, run: Path, name: str) -> None:
        path = folder_of(run, name)
        if not (path / FILE).is_file():
            there = evaluations(run)
            remedy = nearest(name, there) if there else "`cl-sr eval` makes them"
            raise InputError(f"{run} has no evaluation {name!r}: {remedy}")
        super().__init__(path, EvaluationFolder(path))
        self.run = run
        self.name = name

    @cached_property
    def about(self) -> dict[str, Any]:
        """What `evaluation.json` says: `state`, `states`, `of`, `settings`, `command`."""
        return self._complete(FILE, read_json(self.path / FILE), ABOUT)

    @cached_property
    def status(self) -> dict[str, Any]:
        """The run's."""
        return Record(self.run).status

    @property
    def elsewhere(self) -> list[str]:
        """The folders of other images than the run's own that it was judged on."""
        images = self.about["settings"]["images"]
        return list(images.values()) if isinstance(images, dict) else []


def command_of(record: Record) -> str:
    """What repeats a run, or an evaluation."""
    if isinstance(record, Evaluated):
        return str(record.about["command"])
    config = shlex.quote(str(record.path.absolute() / "config.yaml"))
    return f"cl-sr run --config {config} --out DIR"


def unfinished(record: Record) -> str:
    """How far a run and its evaluation came, where one did not come to its end; else empty."""
    told = []
    of_run = Record(record.run) if isinstance(record, Evaluated) else record
    if (state := of_run.state) != "finished":
        status = of_run.status
        reason = f": {status['reason']}" if "reason" in status else ""
        place = f"at iteration {status['iteration']} of {status['of']}{reason}"
        told.append(f"Unfinished run: {state} {place}")
    if isinstance(record, Evaluated) and record.about["state"] != "finished":
        judged, asked = (", ".join(record.about[key]) for key in ("states", "of"))
        told.append(
            f"Unfinished evaluation: {judged or 'none'} of the states {asked}; it goes on by "
            f"{command_of(record)}"
        )
    return ". ".join(told)


def folder_of(path: Path, name: str) -> Path:
    """Of an evaluation of this name, of a run or a sweep."""
    return path / FOLDER / name


def evaluations(run: Path) -> list[str]:
    """The names of a run's evaluations."""
    return sorted(file.parent.name for file in (run / FOLDER).glob(f"*/{FILE}"))


@dataclass(frozen=True)
class EvaluationPlan:
    """How a run is to be judged: all is checked, and nothing has been written.

    Attributes:
        record: the run.
        plan: of the run, with the evaluation's settings.
        name: of the evaluation.
        states: to judge, in the order of training; `init` is that before any.
        settings: that its numbers depend on.
        own_images: whether they are those that the run itself is evaluated on, or more of these.
        notes: what the user should know: what is left out, and why.
        command: that repeats it.
        only: whether one state was asked for.
    """

    record: Record
    plan: Plan
    name: str
    states: list[str]
    settings: dict[str, Any]
    own_images: bool
    notes: list[str]
    command: str
    only: bool

    @property
    def path(self) -> Path:
        """Where results go."""
        return folder_of(self.record.path, self.name)

    @property
    def todo(self) -> list[str]:
        """The states that have not been judged yet."""
        there = EvaluationFolder(self.path).states
        return [state for state in self.states if state not in there]

    def clear(self) -> None:
        """Remove what there is of this name.

        Raises:
            InputError: another process is at work on it.
        """
        if not self.path.is_dir():
            return
        if EvaluationFolder(self.path).locked:
            raise InputError(f"another process is at work in {self.path}: wait for it")
        shutil.rmtree(self.path)

    def checkpoint(self, state: str) -> Path:
        """The folder of a state."""
        return self.record.path / "checkpoints" / state


def plan_evaluation(
    run: Path,
    overrides: Sequence[str] = (),
    *,
    data: Sequence[str] = (),
    after: str | None = None,
    name: str | None = None,
    overwrite: bool = False,
) -> EvaluationPlan:
    """Check how a run is to be judged again.

    Args:
        run: its folder, finished or not.
        overrides: `key=value`: of the evaluation, or where it takes place.
        data: other images, as `--data`.
        after: one state, named by the domain after which; None: all.
        name: of the evaluation; None: what differs from the run's own.
        overwrite: do not mind one of this name with other settings.

    Raises:
        InputError: no run, a key that would change a training, a state that there is not, or
            another evaluation of this name.
    """
    given = read_overrides(overrides)
    record = Record(run)
    config = _configuration(record, given, data)
    if not config.eval.images:
        raise InputError("eval.images=0 judges nothing: give a number of images, such as 64")
    plan = check(_from_checkpoint(config, record))
    states, notes = _states(record, plan) if plan.curriculum else ([INIT], [])
    zero_shot = plan.strategy.traits.zero_shot is not None
    if zero_shot and {"eval.sampler", "eval.steps", "eval.eta"} & {key for key, _ in given}:
        notes.append(f"{plan.title} draws by options of its own, which eval.* keys do not change")
    if after is not None:
        if after not in states:
            there = nearest(after, states) if states else "go on with it (--resume)"
            raise InputError(f"{run} has no state after {after!r}: {there}")
        states = [after]
    elif states == [INIT] and plan.curriculum:
        raise InputError(f"{run} has no state after a domain yet: go on with it (--resume)")
    moved = bool(data) or any(key.startswith("data.") and key != MEMORY for key, _ in given)
    same = _own_images(record, plan, moved)
    if not same and plan.folders and moved:
        folders = " and ".join(map(str, plan.folders.values()))
        notes.append(f"other images than the run's own: the {config.eval.split} side of {folders}")
    settings = _settings(config, plan, same)
    name = name or _name(_asked(given, config, plan, same))
    if not re.fullmatch(NAME, name):
        raise InputError(f"--name {name!r}: letters, digits and . _ + - alone, such as steps-50")
    parts = ["cl-sr", "eval", str(run), *overrides, *(f"--data={item}" for item in data)]
    command = shlex.join([*parts, f"--name={name}"])
    only = after is not None
    found = EvaluationPlan(record, plan, name, states, settings, same, notes, command, only)
    _check_place(found, overwrite)
    return found


def read_overrides(overrides: Sequence[str]) -> list[tuple[str, Any]]:
    """The keys and values of an evaluation.

    Raises:
        InputError: one that would change a training.
    """
    given = [split_override(item) for item in overrides]
    for key, _ in given:
        if key in NEVER:
            raise InputError(f"{key} {NEVER[key]}, and cl-sr eval trains nothing: leave it out")
        if not (key.startswith("eval.") or key in PLACES or key.startswith("data.folders.")):
            raise InputError(
                f"{key} would change the training, and cl-sr eval judges what is trained: give "
                f"eval.* keys, --data or {', '.join(PLACES)}; `cl-sr run --config RUN/config.yaml` "
                "trains another"
            )
    return given


def _configuration(
    record: Record, given: Sequence[tuple[str, Any]], data: Sequence[str]
) -> RunConfig:
    """The run's, with what is given for the evaluation."""
    values = resolve(record.config).model_dump(mode="json")
    put_data(values, data, own=True)
    put_all(values, given)
    return resolve(values)


def _states(record: Record, plan: Plan) -> tuple[list[str], list[str]]:
    """Those that are saved, in order, and what to say of others."""
    notes, folder = [], record.path / "checkpoints"
    states = [name for name in plan.learnt if is_checkpoint(folder / name)]
    if record.state != "finished":
        status = record.status
        notes.append(
            f"{record.path} is not finished ({record.state} at iteration {status['iteration']} of "
            f"{status['of']}): what is saved is judged, after {', '.join(states) or 'no domain'}"
        )
    elif missing := [name for name in plan.learnt if name not in states]:
        notes.append(f"{record.path} has no weights any more of after {', '.join(missing)}")
    if why := _unknown_start(record):
        notes.append(f"before training is left out: {why}")
        return states, notes
    return [INIT, *states], notes


def _unknown_start(record: Record) -> str:
    """Why the weights that a run started from cannot be known; empty where they can."""
    if (init := record.settings["init"]) is not None:
        return "" if Path(init).exists() else f"the weights that it started from ({init}) are gone"
    before = record.environment.get("packages", {}).get("torch")
    now = version("torch")
    return "" if before == now else f"torch {before} drew the first weights, and this is {now}"


def _from_checkpoint(config: RunConfig, record: Record) -> RunConfig:
    """Of a run that started from a file that is gone: its model is that of a saved state."""
    if config.init is None or Path(config.init).exists():
        return config
    saved = next(filter(is_checkpoint, (record.path / "checkpoints").glob("*")), None)
    return config.model_copy(update={"init": str(saved.absolute())}) if saved else config


def _own_images(record: Record, plan: Plan, moved: bool) -> bool:
    """Whether the run's own test images are to be judged on: in place, or where they moved to."""
    if plan.config.eval.split != record.settings["eval"]["split"]:
        return False
    if not moved:
        return True
    from cl_sr.data.folder import same_image  # numpy, which runs on stand-ins do without here

    tested = files_tested(record)
    return all(
        name in tested and same_image(folder / tested[name][0][0], tested[name][0][1])
        for name, folder in plan.folders.items()
    )


def _settings(config: RunConfig, plan: Plan, own_images: bool) -> dict[str, Any]:
    """All that its numbers depend on, beside the run."""
    evaluation = config.eval.model_dump(mode="json", exclude={"every", "samples"})
    images: Any = "the run's"
    if not own_images:
        images = {name: str(folder.absolute()) for name, folder in plan.folders.items()}
    return {"eval": evaluation, "precision": config.train.precision, "images": images}


def _asked(
    given: Sequence[tuple[str, Any]], config: RunConfig, plan: Plan, own_images: bool
) -> dict[str, str]:
    """What was asked for, by the last part of its key: the same for all runs of a sweep."""
    values, found = config.model_dump(mode="json"), {}
    for key, _ in given:
        if (key.startswith("eval.") or key == "train.precision") and key not in SHOWN:
            value = pick(values, key)
            text = "-".join(map(str, value)) if isinstance(value, list) else str(value)
            found[key.rpartition(".")[2]] = "all" if value is None else text
    if not own_images and "split" not in found:
        folders = [Path(str(config.data.root))] if config.data.root else plan.folders.values()
        found["data"] = "-".join(folder.name for folder in folders) or "stand-ins"
    return found


def _name(asked: Mapping[str, str]) -> str:
    """Such as `steps-50`; `again` where nothing is asked for."""
    name = "-".join(f"{key}-{value}" for key, value in asked.items()) or "again"
    return re.sub(r"[^\w.+-]+", "-", name, flags=re.ASCII)[:100]


def _check_place(plan: EvaluationPlan, overwrite: bool) -> None:
    """Refuse a name that is taken by another evaluation.

    Raises:
        InputError: with the remedy.
    """
    path = plan.path
    if path.is_symlink() or path.parent.is_symlink():
        raise InputError(f"{path} is a link: evaluations stay in the run's own folder")
    if (path / FILE).is_file():
        there = Evaluated(plan.record.path, plan.name).about["settings"]
        if there != plan.settings and not overwrite:
            keys = [key for key in plan.settings if there.get(key) != plan.settings[key]]
            told = _difference(there, plan.settings) if keys == ["eval"] else " and ".join(keys)
            raise InputError(
                f"{path} holds an evaluation with other settings ({told}): choose another --name, "
                "or add --overwrite"
            )
    elif path.is_dir() and any(path.iterdir()):
        raise InputError(f"{path} is not empty and holds no evaluation: choose another --name")
    check_writable(path)


def _difference(there: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    theirs, ours = there["eval"], settings["eval"]
    key = next(key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key))
    return f"eval.{key} is {json.dumps(theirs.get(key))}, not {json.dumps(ours.get(key))}"
