"""A restorer from a run's folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from cl_sr.config import resolve
from cl_sr.diffusion import Sampling
from cl_sr.errors import InputError, nearest
from cl_sr.files import read_json
from cl_sr.inference.device import choose_device
from cl_sr.inference.loading import load_restorer, restorer
from cl_sr.inference.restorer import Origin, Restorer
from cl_sr.models.description import VALUES, Description, is_checkpoint, read_description
from cl_sr.runs.model import make_model
from cl_sr.runs.plan import check
from cl_sr.runs.record import Record
from cl_sr.training.rng import isolated_rng


def restorer_of(
    record: Record,
    after: str | None = None,
    *,
    device: str = "auto",
    precision: str | None = None,
    batch: int = 64,
) -> Restorer:
    """What a run restores images with.

    Args:
        record: the run, finished or not.
        after: the domain (or the name of a checkpoint) after which; None: the last one.
        device, batch: see `cl_sr.inference.load_restorer`.
        precision: as well; None: that of the run.

    Raises:
        InputError: there is no such checkpoint, or none at all.
    """
    precision = precision or str(record.settings["train"]["precision"])
    folders = list(filter(is_checkpoint, (record.path / "checkpoints").glob("*")))
    names = [folder.name for folder in folders]
    if after is not None and after not in names:
        there = nearest(after, names) if names else "it has no checkpoint yet"
        raise InputError(f"{record.path} has no checkpoint {after!r}: {there}")
    if not names:
        return _zero_shot(record, device, precision, batch)
    folder = folders[names.index(after)] if after is not None else max(folders, key=_place)
    about = _completed(read_description(folder), record, folder)
    return load_restorer(folder, description=about, device=device, precision=precision, batch=batch)


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


def _zero_shot(record: Record, device: str, precision: str, batch: int) -> Restorer:
    """Of a run that trains nothing: the prior is a file's."""
    plan = check(resolve(record.config))
    zero_shot = plan.strategy.traits.zero_shot
    if zero_shot is None or not zero_shot.prior:
        raise InputError(f"{record.path} has no checkpoint yet: go on with it (--resume)")
    with isolated_rng():
        model = make_model(plan)
    return restorer(
        model,
        plan.strategy,
        {},
        degradation=plan.config.data.kernel,
        scale=plan.config.data.scale,
        sampling=plan.sampling,
        device=choose_device(device),
        precision=precision,
        batch=batch,
        origin=Origin(strategy=plan.title),
    )
