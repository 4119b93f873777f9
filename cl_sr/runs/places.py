"""Where a run is written: whether it can be, and making the folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from cl_sr.config import RunConfig, resolve
from cl_sr.errors import InputError
from cl_sr.runs.descent import Descent
from cl_sr.runs.folder import RunFolder
from cl_sr.runs.plan import Plan
from cl_sr.strategies import spell
from cl_sr.yaml_text import read_yaml

if TYPE_CHECKING:
    from cl_sr.runs.loading import Loaded


def check_place(
    plan: Plan, out: Path | None, overwrite: bool, resume: bool, descent: Descent | None = None
) -> None:
    """Refuse a place that `begin` could not take, changing nothing.

    Raises:
        InputError: something else is there, or nothing to go on with.
    """
    if resume and overwrite:
        raise InputError("resume and overwrite contradict each other: use one")
    if resume and out is None:
        raise InputError("resume needs the folder of the run: out=...")
    if out is None:
        return
    if descent is not None:
        descent.check_place(out)
    if resume:
        folder = RunFolder.open(out)
        folder.check_same(plan.config)
        if folder.locked:
            raise InputError(f"another process is at work in {out}")
    else:
        RunFolder.check_free(out, overwrite)


def begin(
    loaded: Loaded, out: Path | None, overwrite: bool, resume: bool, descent: Descent | None = None
) -> RunFolder:
    """The folder of a run that is about to be executed: it is made, or was there already."""
    plan = loaded.plan
    place = out or default_folder(plan.config)
    if descent is not None and not resume:
        from cl_sr.runs.origin import descend

        return descend(descent, loaded, place, overwrite)
    if not resume:
        return RunFolder.create(place, overwrite, plan.first_files())
    folder = RunFolder.open(place)
    if resolve(read_yaml(place / "config.yaml"), reading=True) != plan.config:
        folder.write("config.yaml", plan.config.to_yaml())  # it is made elsewhere now
    return folder


def default_folder(config: RunConfig) -> Path:
    """`runs/STREAM-STRATEGY-seedN`, with a number where that is taken."""
    stream = Path(config.stream).stem if config.stream.endswith(".py") else config.stream
    strategy = re.sub(r"[^\w.-]+", "-", spell(config.strategy))[:100]
    base = Path("runs") / f"{stream}-{strategy}-seed{config.seed}"
    path, number = base, 1
    while path.exists():
        number += 1
        path = base.with_name(f"{base.name}-{number}")
    return path
