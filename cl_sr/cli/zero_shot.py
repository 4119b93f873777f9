"""`cl-sr zero-shot`: restore the user's own low-resolution images by DDNM."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from cl_sr.cli.pictures import DRAWING, SHARED, Job, draw_all, plan_jobs, shared
from cl_sr.errors import InputError


@click.command("zero-shot")
@shared(SHARED)
@click.option(
    "--prior",
    "prior_path",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Unconditional model: guided-diffusion .pt, DDPM .ckpt, SR3, cl-sr or diffusers folder.",
)
@click.option(
    "--scale", type=click.IntRange(min=1), required=True, help="High over low resolution."
)
@click.option(
    "--operator",
    type=click.Choice(["bicubic", "average"]),
    default="bicubic",
    show_default=True,
    help="What made the low-resolution images.",
)
@click.option("--steps", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--eta", type=click.FloatRange(0, 1), default=0.85, show_default=True)
@click.option("--travel-length", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--travel-repeat", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--sigma-y",
    type=click.FloatRange(min=0, max=255),
    default=0.0,
    show_default=True,
    help="Standard deviation of the noise in the images, of 255 (DDNM+).",
)
@shared(DRAWING)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def command(
    given: tuple[str, ...],
    out: Path,
    samples: int,
    sheet: bool,
    overwrite: bool,
    **options: Any,
) -> None:
    """Super-resolve images without training: DDNM with an unconditional prior.

    KEY=VALUE is what the prior's file does not tell: of its network (num_head_channels=16) and of
    its training (noise_schedule=cosine, diffusion_steps=4000, beta_start=0.0001, beta_end=0.02,
    prediction=v, rescale_timesteps=true). Images, results and tiles are as in cl-sr infer.

    \b
    cl-sr zero-shot -i photo.png --prior 256x256_diffusion_uncond.pt --scale 4 -o large.png
    cl-sr zero-shot -i small/ --prior runs/NAME/checkpoints/celeba --scale 4 -o restored
    """
    from cl_sr.models.training_noise import split_arguments
    from cl_sr.yaml_text import arguments

    split_arguments(arguments(options["overrides"]))
    jobs = plan_jobs(given, out, samples, sheet, overwrite)
    if jobs:
        _restore(jobs, **options)


def _restore(
    jobs: Sequence[Job],
    prior_path: Path,
    scale: int,
    operator: str,
    device: str,
    overrides: Iterable[str],
    steps: int,
    eta: float,
    travel_length: int,
    travel_repeat: int,
    sigma_y: float,
    **drawing: Any,
) -> None:
    from rich.console import Console

    messages = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    with messages.status("starting (torch takes some seconds)"):
        from cl_sr.degradations import AveragePool, Bicubic
        from cl_sr.degradations.pixels import STEPS
        from cl_sr.diffusion import Sampling
        from cl_sr.diffusion.sampling import DDNM
        from cl_sr.inference import Request, Restorer
        from cl_sr.inference.device import choose_device
        from cl_sr.models import Model, load_prior
        from cl_sr.yaml_text import arguments

        place = choose_device(device)
        prior = load_prior(prior_path, **arguments(overrides)).to(place)
    model = Model(prior, prior.schedule, conditional=False, scale=scale, family="prior")
    degradation = Bicubic(scale) if operator == "bicubic" else AveragePool(scale)
    sampling = Sampling(DDNM, steps, eta, travel_length=travel_length, travel_repeat=travel_repeat)
    try:
        sampling.check(prior.schedule.steps)
    except ValueError as error:
        raise InputError(f"{error} (the prior has {prior.schedule.steps} time-steps)") from error
    request = Request(sigma_y=sigma_y / STEPS, **drawing)
    draw_all(jobs, Restorer(model, degradation), request, sampling, messages)
