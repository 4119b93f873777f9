"""`cl-sr infer`: upscale the user's own pictures with a model that was trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from cl_sr.errors import InputError


@click.command()
@click.option(
    "-i",
    "--input",
    "given",
    required=True,
    multiple=True,
    metavar="IMAGE|FOLDER|GLOB",
    help="Low-resolution images, which are not shrunk first. May be repeated.",
)
@click.option(
    "-o",
    "--out",
    required=True,
    metavar="DIR|FILE",
    type=click.Path(path_type=Path),
    help="A folder (DIR/NAME.png), or of one image a file, in the format of its name.",
)
@click.option("--run", metavar="RUN", type=click.Path(path_type=Path), help="A run's folder.")
@click.option("--after", metavar="DOMAIN", help="Its state after this domain (default: the last).")
@click.option(
    "--weights",
    metavar="FOLDER|FILE|hf:OWNER/NAME",
    type=click.Path(path_type=Path),
    help="In the place of a run: what was exported, a checkpoint, a *_gen.pth, or the hub.",
)
@click.option("--scale", type=click.IntRange(min=1), help="High over low, of a *_gen.pth.")
@click.option("--sampler", help="Default, as of --steps and --eta: that of the run's evaluations.")
@click.option("--steps", type=click.IntRange(min=1), help="Respaced steps.")
@click.option("--eta", type=click.FloatRange(0, 1), help="Of ddim.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of noise.")
@click.option(
    "--tile",
    type=click.IntRange(min=0),
    help="Side of the tiles, pixels of the input (default: what was trained; 0: none).",
)
@click.option("--overlap", type=click.IntRange(min=0), help="Shared by tiles (default: a quarter).")
@click.option(
    "--by-tile", is_flag=True, help="A router chooses for each tile, not for the whole image."
)
@click.option("--batch", type=click.IntRange(min=1), default=16, show_default=True, help="Tiles.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    show_default=True,
)
@click.option("--overwrite", is_flag=True, help="Draw again what is there already.")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def command(
    given: tuple[str, ...],
    out: Path,
    run: Path | None,
    after: str | None,
    weights: Path | None,
    scale: int | None,
    device: str,
    batch: int,
    overwrite: bool,
    overrides: tuple[str, ...],
    **options: Any,
) -> None:
    """Upscale images with a trained model, as its strategy does in evaluation.

    Images of any size are taken: larger ones by overlapping tiles that are drawn jointly, smaller
    ones padded by reflection. What is in --out already is skipped, so the same command goes on
    after a stop. KEY=VALUE are facts that a *_gen.pth of the public SR3 code does not tell, such as
    norm_groups=16.

    \b
    cl-sr infer -i photo.jpg -o large.png --run runs/NAME
    cl-sr infer -i photos/ -o large/ --run runs/NAME --after celeba --steps 20
    cl-sr infer -i 'scans/*.tif' -o large/ --weights hf:owner/name
    cl-sr infer -i small/ -o large/ --weights I640000_E37_gen.pth --scale 8
    """
    from cl_sr.cli.models import check_place, facts
    from cl_sr.cli.pictures import FORMATS, find_sources, targets
    from cl_sr.files import check_writable

    if (run is None) == (weights is None):
        raise InputError("give --run RUN or --weights FOLDER: one of them says which model")
    if weights is not None and after is not None:
        raise InputError("--after tells a state of --run; --weights is one already")
    place = run or weights
    assert place is not None
    check_place(place)
    model = facts(scale, overrides)
    sources = find_sources(given)
    if out.suffix.lower() in FORMATS and not out.is_dir():
        if len(sources) != 1:
            raise InputError(f"{len(sources)} images for one file {out}: give a folder")
        places = [out]
    elif out.suffix and not out.exists() and len(sources) == 1:
        raise InputError(
            f"{out}: its ending tells no format of images; take one of {', '.join(FORMATS)}, or a "
            "folder"
        )
    else:
        for name in given:
            if Path(name).is_dir() and out.absolute().is_relative_to(Path(name).absolute()):
                raise InputError(f"{out} is inside {name}: results would be taken for images")
        places = targets(sources, out)
    for (source, _), target in zip(sources, places, strict=True):
        if target.exists() and target.samefile(source):
            raise InputError(f"{target} is the image itself: choose another --out")
    check_writable(out.parent if places == [out] else out)
    work = list(zip([source for source, _ in sources], places, strict=True))
    left = [pair for pair in work if overwrite or not pair[1].exists()]
    if there := len(work) - len(left):
        click.echo(f"{there} of {len(work)} are there already (--overwrite draws them again)")
    if left:
        _upscale(left, place, after, device, batch, model, options)


def _upscale(
    work: Sequence[tuple[Path, Path]],
    place: Path,
    after: str | None,
    device: str,
    batch: int,
    model: dict[str, Any],
    options: dict[str, Any],
) -> None:
    from rich.console import Console

    from cl_sr.models.hub import local

    messages = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    here = local(place)  # the hub's progress bars need the line for themselves
    with messages.status("starting (torch takes some seconds)"):
        from PIL import Image

        import cl_sr
        from cl_sr.cli.pictures import draw_all

        restorer = cl_sr.load(here, after, device=device, batch=batch, **model)
    if not restorer.model.conditional:
        raise InputError(
            f"{place} is a prior, which is not shown the input: cl-sr zero-shot --prior takes it"
        )
    learnt = ", ".join(restorer.domains) or "nothing"
    messages.print(
        f"{place}: learnt {learnt} by {restorer.strategy}; {restorer.scale} times as large"
    )

    def read(source: Path) -> Image.Image:
        picture = Image.open(source)
        frames(picture)  # damaged ones fail here
        picture.load()
        return picture

    def frames(picture: Image.Image) -> int:
        return int(getattr(picture, "n_frames", 1))

    def draw(
        source: Path, picture: Image.Image, progress: Callable[[float], None]
    ) -> tuple[Image.Image, str]:
        try:
            large = restorer.upscale(picture, progress=progress, **options)
        except ValueError as error:
            raise InputError(f"{source}: {error}") from error
        many = frames(picture)
        first = f", the first of {many} frames" if many > 1 else ""
        sizes = f"{picture.width}x{picture.height}{first} to {large.width}x{large.height} pixels"
        return large, sizes

    def too_large(picture: Image.Image) -> str:
        return (
            f"{picture.width}x{picture.height} pixels are too many for the memory of "
            f"{restorer.device}: lower --batch, or cut the image into parts"
        )

    done = 0
    try:
        for _ in draw_all(work, messages, "upscaling", read, draw, too_large):
            done += 1
    except KeyboardInterrupt:
        messages.print(f"Stopped; {done} of {len(work)} are done. The same command goes on.")
        raise SystemExit(130) from None
