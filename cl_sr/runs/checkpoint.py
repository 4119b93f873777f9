"""Which checkpoint of a run is meant, and what it says of itself: without torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from cl_sr.diffusion import Sampling
from cl_sr.errors import InputError, nearest
from cl_sr.files import read_json
from cl_sr.models.description import VALUES, Description, is_checkpoint, read_description
from cl_sr.runs.record import Record


def checkpoint_of(record: Record, after: str | None = None) -> tuple[Path, Description] | None:
    """The folder of a checkpoint of a run, and what it says, completed; None: the run has none.

    Args:
        record: the run.
        after: the domain (or the name of a checkpoint) after which; None: the last one.

    Raises:
        InputError: there is no such checkpoint.
    """
    folders = list(filter(is_checkpoint, (record.path / "checkpoints").glob("*")))
    names = [folder.name for folder in folders]
    if after is not None and after not in names:
        there = nearest(after, names) if names else "it has no checkpoint yet"
        raise InputError(f"{record.path} has no checkpoint {after!r}: {there}")
    if not names:
        return None
    folder = folders[names.index(after)] if after is not None else max(folders, key=_place)
    return folder, _completed(read_description(folder), record, folder)


def _place(folder: Path) -> tuple[int, int]:
    """The order of checkpoints: by iterations and experiences, whenever the files were copied."""
    about = read_description(folder)
    if about.strategy is not None:
        return about.iterations, len(about.domains)
    # One of old: the state beside it tells, which a run is resumed from.
    values = _state(folder)
    iterations, experience = values.get("iteration"), values.get("experience")
    if not isinstance(iterations, int) or not isinstance(experience, int):
        raise InputError(
            f"{folder} does not tell when it was written: name the domain that was learnt last"
        )
    return iterations, experience


def _state(folder: Path) -> dict[str, Any]:
    """What stands beside the weights, for a run to be resumed from; nothing, where it is gone."""
    return read_json(folder / VALUES) if (folder / VALUES).is_file() else {}


def _completed(about: Description, record: Record, folder: Path) -> Description:
    """With what checkpoints of old do not tell, from the run's configuration."""
    if about.strategy is not None:
        return about
    settings = record.settings
    evaluation, learnt = settings["eval"], []
    for domain in record.domains if (record.path / "env.json").is_file() else []:
        learnt.append(domain)
        if domain == folder.name:
            break
    return replace(
        about,
        degradation=settings["data"]["kernel"],
        scale=settings["data"]["scale"],
        strategy=settings["strategy"],
        domains=learnt if folder.name in learnt else [],
        iterations=int(_state(folder).get("iteration", 0)),
        sampling=Sampling(
            evaluation["sampler"], evaluation["steps"], evaluation["eta"], evaluation["seed"]
        ),
    )
