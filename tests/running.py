"""Runs in the test's own process, with the settings of seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cl_sr.avalanche import SupervisedPlugin
from cl_sr.config import read_preset, resolve
from cl_sr.runs.execute import execute
from cl_sr.runs.folder import RunFolder
from cl_sr.runs.loading import Loaded, load
from cl_sr.runs.plan import Plan, check
from cl_sr.runs.record import Record


def plan_of(overrides: Sequence[str]) -> Plan:
    """A checked run: the preset demo with overrides."""
    return check(resolve(read_preset("demo"), overrides))


def load_run(overrides: Sequence[str]) -> Loaded:
    """The same with its model and images."""
    return load(plan_of(overrides))


def run(path: Path, overrides: Sequence[str], resume: bool = False, **more: Any) -> Record:
    """Execute a run, or go on with it; `more` is for `execute`."""
    return run_loaded(path, load_run(overrides), resume, **more)


def run_loaded(path: Path, loaded: Loaded, resume: bool = False, **more: Any) -> Record:
    """The same, of what is loaded."""
    files = loaded.plan.first_files()
    folder = RunFolder.open(path) if resume else RunFolder.create(path, False, files)
    execute(loaded, folder, resume=resume, **more)
    return Record(path)


EVERY = ["checkpoint.every=1"]
SIXTH = ("before_training_iteration", 6)  # after its sixth iteration


class Cut(SupervisedPlugin):
    """Stops at a moment, without a word, as SIGKILL does: nothing is saved then."""

    def __init__(self, moment: str, iteration: int) -> None:
        super().__init__()

        def cut(template: Any, **_: Any) -> None:
            if template.clock.train_iterations == iteration:
                raise SystemExit(9)

        setattr(self, moment, cut)


def results(path: Path) -> dict[str, bytes]:
    """What of a run must not depend on cuts."""
    files = ["metrics.jsonl", "matrix.csv", "images.csv", "windows.csv", "config.yaml"]
    files += ["manifest.csv"]
    files += [str(p.relative_to(path)) for p in path.glob("checkpoints/*/adapter/*")]
    files += [str(p.relative_to(path)) for p in path.glob("checkpoints/*/model.safetensors")
              if not p.parent.name.startswith("iteration-")]  # fmt: skip
    files += [str(p.relative_to(path)) for p in path.glob("samples/*/*.png")]
    return {name: (path / name).read_bytes() for name in sorted(files)}
