"""Judging the runs of a sweep again."""

from __future__ import annotations

from pathlib import Path

from cl_sr.errors import InputError
from cl_sr.runs.folder import RunFolder
from cl_sr.sweeps.folder import is_sweep, read_description


def members_to_judge(path: Path) -> tuple[list[Path], list[str]]:
    """The finished runs of a sweep, or of a folder of runs; of a run, that run, finished or not.

    Returns:
        Their folders, and why others are not among them.

    Raises:
        InputError: there are none.
    """
    if not path.is_dir():
        raise InputError(f"no folder {path}: name a run or a sweep; `cl-sr runs` lists runs")
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
