"""Judging the runs of a sweep again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cl_sr.errors import InputError
from cl_sr.runs.evaluation import FILE, EvaluationFolder, EvaluationPlan
from cl_sr.runs.folder import RunFolder
from cl_sr.sweeps.folder import is_sweep, read_description
from cl_sr.sweeps.runner import Job, State


@dataclass
class Judging(Job):
    """A run to be judged again, in a process of its own.

    Attributes:
        plan: how.
        given: options and overrides of the command line.
    """

    plan: EvaluationPlan | None = None
    given: tuple[str, ...] = ()

    @classmethod
    def of(cls, plan: EvaluationPlan, given: tuple[str, ...]) -> Judging:
        state = State.WAITING if plan.todo else State.FINISHED
        name, config = plan.record.path.name, plan.plan.config
        return cls(name, config, plan.path, state=state, plan=plan, given=given)

    def progress(self) -> tuple[int, int]:
        """States so far, and of all."""
        assert self.plan is not None
        of = len(self.plan.states)
        return of - len(self.plan.todo), of

    @property
    def finished(self) -> bool:
        assert self.plan is not None
        return not self.plan.todo

    @property
    def locked(self) -> bool:
        folder = EvaluationFolder(self.folder)
        return folder.has(FILE) and folder.locked

    def command(self, out: Path) -> list[str]:
        assert self.plan is not None
        return ["eval", str(self.plan.record.path), *self.given, "--name", self.plan.name]


def members_to_judge(path: Path) -> tuple[list[Path], list[str]]:
    """The finished runs of a sweep, or of a folder of runs; of a run, that run, finished or not.

    Returns:
        Their folders, and why others are not among them.

    Raises:
        InputError: there are none.
    """
    if not path.is_dir():
        raise InputError(f"no folder {path}: name a run or a sweep; `cl-sr runs` lists runs")
    if (path / FILE).is_file():
        raise InputError(f"{path} is an evaluation: name the run that it is of, {path.parents[1]}")
    if is_sweep(path):
        folders = [path / name for name in read_description(path)["members"]]
    elif (path / "config.yaml").is_file():
        return [path], []
    else:
        folders = sorted(file.parent for file in path.glob("*/status.json"))
    runs, left_out = [], []
    for folder in folders:
        if RunFolder(folder).finished:
            runs.append(folder)
        else:
            begun = (folder / "status.json").is_file()
            left_out.append(f"{folder} {'is not finished' if begun else 'has not been run'}")
    if not runs:
        why = f": {left_out[0]}" if left_out else ": `cl-sr run` and `cl-sr sweep` make them"
        raise InputError(f"no finished run in {path}{why}")
    return runs, left_out
