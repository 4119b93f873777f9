"""A restorer from a run's folder."""

from __future__ import annotations

from cl_sr.config import resolve
from cl_sr.errors import InputError
from cl_sr.inference.device import choose_device
from cl_sr.inference.loading import load_restorer, restorer
from cl_sr.inference.restorer import Origin, Restorer
from cl_sr.runs.checkpoint import checkpoint_of
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
    found = checkpoint_of(record, after)
    if found is None:
        return _zero_shot(record, device, precision, batch)
    folder, about = found
    return load_restorer(folder, description=about, device=device, precision=precision, batch=batch)


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
