"""`cl-sr layers`: which layers forgot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cl_sr.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cl_sr.evaluation.layers import State


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--images", default=64, show_default=True, help="Test images of each domain.")
def command(run: Path, images: int) -> None:
    """Tell which layers of RUN forgot: what it does to put the old weights of some back.

    The weights are those of before and after the last domain. A layer forgot much if its old
    weights bring back much PSNR on the first domain; it learnt much if they cost much on the last.
    """
    import warnings

    warnings.filterwarnings("ignore", module=r"(?!cl_sr)")
    import torch
    from rich.console import Console

    from cl_sr import config as configuration
    from cl_sr.data.pairs import pack
    from cl_sr.evaluation.layers import swaps
    from cl_sr.models import load_sr3
    from cl_sr.reporting.tables import Table
    from cl_sr.training.run import build_template, plan_run
    from cl_sr.training.run_folder import RunFolder

    folder = RunFolder.open(run)
    if images < 1:
        raise InputError(f"--images {images} must be at least 1")
    plan = plan_run(configuration.resolve(configuration.read_yaml(run / "config.yaml")))
    names = plan.learnt
    if not folder.finished or len(names) < 2 or names != list(plan.stream.domain_names):
        raise InputError(f"{run} has not learnt one domain after another: take a finished run")
    nets = [load_sr3(run / "checkpoints" / name).to(plan.device) for name in names[-2:]]
    old, new = (net.state_dict() for net in nets)
    template = build_template(plan, (), (), (), ())
    data, evaluation = plan.config.data, plan.config.eval

    def quality(name: str) -> Callable[[State], float]:
        packed = pack(plan.data[name].test[:images], data.scale, data.kernel)
        return lambda weights: template.quality(
            packed, weights, evaluation.seed, evaluation.protocol
        )

    with torch.no_grad():
        found = swaps(old, new, quality(names[0]), quality(names[-1]))
    rows = [
        [swap.layers, f"{swap.weights:,}", f"{swap.source:+.3f}", f"{swap.target:+.3f}"]
        for swap in found
    ]
    shown = min(images, *(len(plan.data[name].test) for name in (names[0], names[-1])))
    title = (
        f"PSNR (dB) with the old weights of some layers, {shown} {evaluation.split} images of "
        "each domain"
    )
    table = Table(title, ["layers", "weights", names[0], names[-1]], rows)
    table.show(Console(markup=False, highlight=False))
