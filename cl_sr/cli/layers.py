"""`cl-sr layers`: which layers forgot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cl_sr.errors import InputError

if TYPE_CHECKING:
    from cl_sr.evaluation.layers import Swap
    from cl_sr.runs.record import Record


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--images", default=64, show_default=True, help="Test images of each domain.")
def command(run: Path, images: int) -> None:
    """Tell which layers of RUN forgot: what it does to put the old weights of some back.

    The weights are those of before and after the last domain. A layer forgot much if its old
    weights bring back much PSNR on the first domain; it learnt much if they cost much on the last.
    """
    from rich.console import Console

    from cl_sr import api
    from cl_sr.reporting.tables import Table
    from cl_sr.runs.record import Record

    record = Record(run)
    if images < 1:
        raise InputError(f"--images {images} must be at least 1")
    learnt = record.matrices[0].learnt if record.matrices else []
    if record.state != "finished" or len(learnt) < 2 or learnt != record.domains:
        raise InputError(f"{run} has not learnt one domain after another: take a finished run")
    with api.quiet():
        found, shown = _swaps(record, learnt, images)
    rows = [
        [swap.layers, f"{swap.weights:,}", f"{swap.source:+.3f}", f"{swap.target:+.3f}"]
        for swap in found
    ]
    title = (
        f"PSNR (dB) with the old weights of some layers, {shown} "
        f"{record.settings['eval']['split']} images of each domain"
    )
    table = Table(title, ["layers", "weights", learnt[0], learnt[-1]], rows)
    table.show(Console(markup=False, highlight=False))


def _swaps(record: Record, learnt: list[str], images: int) -> tuple[list[Swap], int]:
    """What each group of layers does, and on how many images."""
    import torch

    from cl_sr.degradations.pixels import to_floats
    from cl_sr.evaluation.layers import State, swaps
    from cl_sr.evaluation.metrics import MAX_PSNR, psnr
    from cl_sr.inference import Restorer
    from cl_sr.inference.nets import Nets
    from cl_sr.runs.images import test_samples
    from cl_sr.runs.restoring import restorer_of

    batch = record.settings["eval"]["batch_size"]
    before, after = (
        restorer_of(record, name, device=record.settings["device"], batch=batch)
        for name in learnt[-2:]
    )
    old, new = (restorer.model.net.state_dict() for restorer in (before, after))
    nets = Nets(after.model.net, torch.channels_last)
    degradation, protocol = after.degradation, record.settings["eval"]["protocol"]
    source, target = (
        test_samples(record, name, images, degradation) for name in (learnt[0], learnt[-1])
    )

    def quality(weights: State, name: str) -> float:
        samples = source if name == learnt[0] else target
        model = after.model.with_net(nets.of(weights))
        restorer = Restorer(model, degradation, after.sampling, batch=batch)
        first = after.sampling.seed
        restored = restorer.restore(samples.lr, range(first, first + len(samples)))
        truth = to_floats(samples.hr.to(restored.device))
        values = psnr((restored + 1) / 2, (truth + 1) / 2, protocol)
        return float(values.clamp(max=MAX_PSNR).mean())

    found = swaps(old, new, lambda w: quality(w, learnt[0]), lambda w: quality(w, learnt[-1]))
    return found, min(len(source), len(target))
