"""`cl-sr infer`: upscale the user's own pictures with a model that was trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cl_sr.cli.pictures import DRAWING, SHARED, Job, draw_all, plan_jobs, shared
from cl_sr.errors import InputError


@click.command()
@shared(SHARED)
@click.option("--run", metavar="RUN", type=click.Path(path_type=Path), help="A run's folder.")
@click.option("--after", metavar="DOMAIN", help="Its state after this domain (default: the last).")
@click.option(
    "--weights",
    metavar="FOLDER|FILE|hf:OWNER/NAME",
    type=click.Path(path_type=Path),
    help="In the place of a run: what was exported, a checkpoint, a *_gen.pth, or the hub.",
)
@click.option("--scale", type=click.IntRange(min=1), help="High over low, of a *_gen.pth.")
@click.option(
    "--domain", help="Whose weights a router is to take (default: it chooses by the image)."
)
@click.option("--by-tile", is_flag=True, help="It chooses for each tile, not for the whole image.")
@click.option("--sampler", help="Default, as of --steps and --eta: that of the run's evaluations.")
@click.option("--steps", type=click.IntRange(min=1), help="Respaced steps.")
@click.option("--eta", type=click.FloatRange(0, 1), help="Of ddim.")
@click.option(
    "--consistent", is_flag=True, help="The result, shrunk, is to be the input: for fidelity."
)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@shared(DRAWING)
def command(
    given: tuple[str, ...],
    out: Path,
    run: Path | None,
    after: str | None,
    weights: Path | None,
    scale: int | None,
    samples: int,
    sheet: bool,
    overwrite: bool,
    overrides: tuple[str, ...],
    **options: Any,
) -> None:
    """Upscale images with a trained model, as its strategy does in evaluation.

    Images of any size are taken: larger ones by overlapping tiles that are drawn jointly, smaller
    ones padded by reflection. What is in --out already is skipped, so the same command goes on
    after a stop. Several samples of NAME are NAME-1, NAME-2, ... with NAME-mean and NAME-spread.
    KEY=VALUE are facts that a *_gen.pth of the public SR3 code does not tell, such as
    norm_groups=16.

    \b
    cl-sr infer -i photo.jpg -o large.png --run runs/NAME
    cl-sr infer -i photos/ -o large/ --run runs/NAME --after celeba --steps 20
    cl-sr infer -i 'scans/*.tif' -o large/ --weights hf:owner/name
    cl-sr infer -i small/ -o large/ --weights I640000_E37_gen.pth --scale 8
    cl-sr infer -i face.png -o face-4x.png --run runs/NAME --samples 8 --sheet
    """
    from cl_sr.cli.models import check_place, facts

    if (run is None) == (weights is None):
        raise InputError("give --run RUN or --weights FOLDER: one of them says which model")
    if weights is not None and after is not None:
        raise InputError("--after tells a state of --run; --weights is one already")
    if options["domain"] is not None and options["by_tile"]:
        raise InputError("--domain and --by-tile contradict each other: use one")
    place = run or weights
    assert place is not None
    check_place(place)
    model = facts(scale, overrides)
    jobs = plan_jobs(given, out, samples, sheet, overwrite)
    if jobs:
        _upscale(jobs, place, after, model, **options)


def _upscale(
    jobs: Sequence[Job],
    place: Path,
    after: str | None,
    model: dict[str, Any],
    domain: str | None,
    sampler: str | None,
    steps: int | None,
    eta: float | None,
    device: str,
    **drawing: Any,
) -> None:
    from rich.console import Console

    from cl_sr.models.hub import local

    messages = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    here = local(place)  # the hub's progress bars need the line for themselves
    with messages.status("starting (torch takes some seconds)"):
        import cl_sr
        from cl_sr.inference import Request
        from cl_sr.inference.restorer import expert_of

        restorer = cl_sr.load(here, after, device=device, **model)
    if not restorer.model.conditional:
        raise InputError(
            f"{place} is a prior, which is not shown the input: cl-sr zero-shot --prior takes it"
        )
    sampling = restorer.sampling.changed(sampler, steps, eta)
    expert = None if domain is None else expert_of(restorer, domain)
    learnt = ", ".join(restorer.domains) or "nothing"
    messages.print(
        f"{place}{_unfinished(place)}: learnt {learnt} by {restorer.strategy}; "
        f"{restorer.scale} times as large"
    )
    draw_all(jobs, restorer, Request(expert=expert, **drawing), sampling, messages)


def _unfinished(place: Path) -> str:
    """What to say of a run that did not come to its end."""
    from cl_sr.runs.record import Record

    if not (place / "status.json").is_file():
        return ""
    record = Record(place)
    if record.state == "finished":
        return ""
    return f" is not finished ({record.status['iteration']} of {record.status['of']} iterations)"
