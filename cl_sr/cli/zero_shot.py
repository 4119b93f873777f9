"""`cl-sr zero-shot`: restore the user's own low-resolution images by DDNM."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path
from typing import Any

import click

from cl_sr.errors import InputError


@click.command("zero-shot")
@click.option(
    "-i",
    "--input",
    "given",
    required=True,
    multiple=True,
    metavar="IMAGE|FOLDER|GLOB",
    help="Low-resolution images, which are used as they are. May be repeated.",
)
@click.option(
    "--prior",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Unconditional model: guided-diffusion .pt, DDPM .ckpt, SR3, cl-sr or diffusers folder.",
)
@click.option(
    "--scale", type=click.IntRange(min=1), required=True, help="High over low resolution."
)
@click.option(
    "-o", "--out", required=True, metavar="DIR", type=click.Path(path_type=Path), help="Results."
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
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto")
@click.option("--overwrite", is_flag=True, help="Replace results of the same name.")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def command(
    given: tuple[str, ...],
    prior: Path,
    scale: int,
    out: Path,
    operator: str,
    seed: int,
    device: str,
    overwrite: bool,
    overrides: tuple[str, ...],
    sigma_y: float,
    **options: Any,
) -> None:
    """Super-resolve images without training: DDNM with an unconditional prior.

    KEY=VALUE are arguments of the prior's network that its file does not tell, such as
    num_head_channels=16. Each result is written as DIR/NAME.png.

    \b
    cl-sr zero-shot -i photo.png --prior 256x256_diffusion_uncond.pt --scale 4 -o restored
    cl-sr zero-shot -i small/ --prior runs/NAME/checkpoints/celeba --scale 4 -o restored
    """
    from cl_sr.cli.pictures import find_sources, targets
    from cl_sr.files import check_writable

    sources = find_sources(given)
    places = targets(sources, out)
    check_writable(out)
    taken = [target for target in places if target.exists()]
    if taken and not overwrite:
        raise InputError(f"{taken[0]} exists: choose another --out, or add --overwrite")
    work = list(zip([file for file, _ in sources], places, strict=True))
    options |= {"seeds": [seed], "sigma_y": sigma_y}
    _restore(work, prior, scale, operator, device, overrides, options)


def _restore(
    work: list[tuple[Path, Path]],
    prior_path: Path,
    scale: int,
    operator_name: str,
    device_name: str,
    overrides: Iterable[str],
    options: dict[str, Any],
) -> None:
    from rich.console import Console

    messages = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    with messages.status("starting (torch takes some seconds)"):
        import torch
        from PIL import Image

        from cl_sr.cli.pictures import draw_all
        from cl_sr.data.folder import picture_of, read_pixels
        from cl_sr.degradations import AveragePool, Bicubic
        from cl_sr.degradations.pixels import STEPS
        from cl_sr.diffusion.times import travel_times
        from cl_sr.inference.device import choose_device
        from cl_sr.models import load_prior
        from cl_sr.yaml_text import arguments
        from cl_sr.zero_shot import Operator
        from cl_sr.zero_shot.restore import restore

        device = choose_device(device_name)
        prior = load_prior(prior_path, **arguments(overrides)).to(device)
    operator: Operator = Bicubic(scale) if operator_name == "bicubic" else AveragePool(scale)
    options["sigma_y"] /= STEPS
    total = prior.schedule.steps
    travel = options["travel_length"], options["travel_repeat"]
    try:
        steps = len(travel_times(total, options["steps"], *travel)) - 1
    except ValueError as error:
        raise InputError(f"{error} (the prior has {total} time-steps)") from error

    def read(source: Path) -> torch.Tensor:
        return torch.from_numpy(read_pixels(source, prior.channels).transpose(2, 0, 1).copy())

    def draw(
        _: Path, low: torch.Tensor, progress: Callable[[float], None]
    ) -> tuple[Image.Image, str]:
        taken = count(1)
        image, consistency = restore(
            prior, low, operator, scale,
            callback=lambda _: progress(next(taken) / steps), **options,
        )  # fmt: skip
        told = (
            f"{low.shape[2]}x{low.shape[1]} to {image.shape[2]}x{image.shape[1]} pixels, "
            f"consistent with the input to {consistency:.1f} dB"
        )
        return picture_of(image.permute(1, 2, 0).contiguous().numpy()), told

    def too_large(low: torch.Tensor) -> str:
        return (
            f"{low.shape[2]}x{low.shape[1]} pixels times {scale} are too many for the memory of "
            f"{device}: cut the image into parts"
        )

    for _ in draw_all(work, messages, "restoring", read, draw, too_large):
        pass
