"""What `cl-sr infer` and `cl-sr zero-shot` share: which pictures are meant, where their results go,
and drawing them one by one.
"""

from __future__ import annotations

import glob
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cl_sr.errors import InputError, out_of_memory
from cl_sr.inference.formats import FORMATS, LARGEST

if TYPE_CHECKING:
    from PIL import Image
    from rich.console import Console

    from cl_sr.diffusion import Sampling
    from cl_sr.inference import Request, Restorer, Upscaled

Command = Callable[..., Any]
SHARED = [
    click.option(
        "-i",
        "--input",
        "given",
        required=True,
        multiple=True,
        metavar="IMAGE|FOLDER|GLOB",
        help="Low-resolution images, which are not shrunk first. May be repeated.",
    ),
    click.option(
        "-o",
        "--out",
        required=True,
        metavar="DIR|FILE",
        type=click.Path(path_type=Path),
        help="A folder (DIR/NAME.png), or of one image a file, in the format of its name.",
    ),
]
DRAWING = [
    click.option(
        "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the noise."
    ),
    click.option(
        "--samples",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Of each image, with seeds that count up; then their mean and their spread, too.",
    ),
    click.option("--sheet", is_flag=True, help="A picture before | after of each image, too."),
    click.option(
        "--tile",
        type=click.IntRange(min=0),
        help="Side of the tiles, pixels of the input (default: what was trained; 0: none).",
    ),
    click.option(
        "--overlap", type=click.IntRange(min=0), help="Shared by tiles (default: a quarter)."
    ),
    click.option(
        "--batch",
        type=click.IntRange(min=1),
        default=16,
        show_default=True,
        help="Tiles at a time.",
    ),
    click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda", "mps"]),
        default="auto",
        show_default=True,
    ),
    click.option("--overwrite", is_flag=True, help="Draw again what is there already."),
]


def shared(options: Sequence[Callable[[Command], Command]]) -> Callable[[Command], Command]:
    """Several options of a command, in their order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@dataclass(frozen=True)
class Job:
    """A picture, and the files that are made of it.

    Attributes:
        source: its file.
        target: the result's; of several samples, what their names begin with.
        samples: how many.
        sheet: whether there is a sheet, too.
    """

    source: Path
    target: Path
    samples: int = 1
    sheet: bool = False

    @property
    def drawn(self) -> list[Path]:
        """A file for each sample."""
        if self.samples == 1:
            return [self.target]
        return [self.named(str(number + 1)) for number in range(self.samples)]

    @property
    def results(self) -> list[Path]:
        """All files."""
        several = [self.named("mean"), self.named("spread")] if self.samples > 1 else []
        return [*self.drawn, *several, *([self.named("sheet")] if self.sheet else [])]

    def named(self, what: str) -> Path:
        return self.target.with_stem(f"{self.target.stem}-{what}")


def plan_jobs(
    given: Sequence[str], out: Path, samples: int, sheet: bool, overwrite: bool
) -> list[Job]:
    """What is left to do, with nothing drawn or written yet.

    Raises:
        InputError: what is given means no pictures, or their results cannot lie at `out`.
    """
    from cl_sr.files import check_writable

    sources = find_sources(given)
    one = out.suffix.lower() in FORMATS and not out.is_dir()
    if one and len(sources) != 1:
        raise InputError(f"{len(sources)} images for one file {out}: give a folder")
    if not one and out.suffix and not out.exists() and len(sources) == 1:
        raise InputError(
            f"{out}: its ending tells no format of images; take one of {', '.join(FORMATS)}, or a "
            "folder"
        )
    for name in filter(lambda name: Path(name).is_dir() and not one, given):
        inner, outer = out.resolve(), Path(name).resolve()
        if inner.is_relative_to(outer) or outer.is_relative_to(inner):
            pair = (out, name) if inner.is_relative_to(outer) else (name, out)
            raise InputError(
                f"{pair[0]} is inside {pair[1]}: results would be taken for images; choose another "
                "--out"
            )
    places = [out] if one else targets(sources, out)
    jobs = [
        Job(source, place, samples, sheet)
        for (source, _), place in zip(sources, places, strict=True)
    ]
    _check_apart(jobs)
    check_writable(out.parent if one else out)
    left = [job for job in jobs if overwrite or not all(map(Path.exists, job.results))]
    if there := len(jobs) - len(left):
        click.echo(f"{there} of {len(jobs)} are there already (--overwrite draws them again)")
    return left


def _check_apart(jobs: Sequence[Job]) -> None:
    makers: dict[Path, Path] = {}
    for job in jobs:
        for result in job.results:
            if result in makers:
                raise InputError(
                    f"{job.source} and {makers[result]} would both become {result}: give their "
                    "folders one at a time"
                )
            makers[result] = job.source
            if result.exists() and result.samefile(job.source):
                raise InputError(f"{result} is the image itself: choose another --out")


def find_sources(given: Sequence[str]) -> list[tuple[Path, Path]]:
    """The files that images, folders and patterns mean, each with its name in the results.

    Raises:
        InputError: there is none.
    """
    from cl_sr.data.folder import find_images

    found: list[tuple[Path, Path]] = []
    for name in given:
        path = Path(name)
        if path.is_dir():
            files = find_images(path)
            if not files:
                raise InputError(f"no images below {path} (jpg, png, webp, bmp, tif)")
            found += [(file, file.relative_to(path)) for file in files]
        elif path.is_file():
            found.append((path, Path(path.name)))
        elif matches := [Path(match) for match in sorted(glob.glob(name, recursive=True))]:
            found += [(match, Path(match.name)) for match in matches if match.is_file()]
        else:
            raise InputError(f"no file or folder {path}")
    if not found:
        raise InputError(f"no file is meant by {', '.join(given)}")
    return found


def targets(sources: Sequence[tuple[Path, Path]], out: Path) -> list[Path]:
    """`out/NAME.png`, in sub-folders as in the source; `NAME.jpg.png` where names would meet."""
    plain = Counter(name.with_suffix("") for _, name in sources)
    return [
        out / (name.with_suffix(".png") if plain[name.with_suffix("")] == 1 else f"{name}.png")
        for _, name in sources
    ]


def draw_all(
    jobs: Sequence[Job],
    restorer: Restorer,
    request: Request,
    sampling: Sampling,
    messages: Console,
) -> None:
    """Draw pictures one by one; each is written and told before the next is begun.

    What cannot be read is skipped and told at the end.

    Args:
        jobs: what to do.
        restorer: that draws.
        request: how; its seed is that of the first sample.
        sampling: too.
        messages: for progress and what was skipped; results are told on the standard output.

    Raises:
        InputError: no image could be read, or one cannot be drawn.
        SystemExit: it was interrupted (130); what is done is kept.
    """
    from rich.console import Console
    from rich.progress import Progress

    from cl_sr.data.folder import why_not

    results = Console(markup=False, highlight=False, soft_wrap=True)
    done, skipped = 0, []
    with Progress(console=messages, disable=not messages.is_terminal, transient=True) as progress:
        bar = progress.add_task("drawing", total=sum(job.samples for job in jobs))
        begun = 0
        try:
            for job in jobs:
                try:
                    picture = _read(job.source)
                # Damaged files make Pillow raise OSError, SyntaxError, struct.error and more.
                except Exception as error:
                    skipped.append(f"{job.source}: {why_not(job.source, error)}")
                    begun += job.samples
                    continue

                def advance(share: float, before: int = begun) -> None:
                    progress.update(bar, completed=before + share)

                for line in _draw(job, picture, restorer, request, sampling, advance):
                    results.print(line)
                done += 1
                begun += job.samples
        except KeyboardInterrupt:
            messages.print(f"Stopped; {done} of {len(jobs)} are done. The same command goes on.")
            raise SystemExit(130) from None
    for line in skipped:
        messages.print(f"skipped {line}", style="yellow")
    if not done:
        raise InputError("no image could be read")


def _read(source: Path) -> Image.Image:
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # it is what was asked for
        try:
            picture = Image.open(source)
        except Image.DecompressionBombError as error:
            most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
            raise ValueError(f"more than {most} pixels: cut it into parts") from error
        _frames(picture)  # damaged ones fail here
        picture.load()
    return picture


def _frames(picture: Image.Image) -> int:
    return int(getattr(picture, "n_frames", 1))


def _draw(
    job: Job,
    picture: Image.Image,
    restorer: Restorer,
    request: Request,
    sampling: Sampling,
    advance: Callable[[float], None],
) -> Iterator[str]:
    """Make all files of a picture; a line for each."""
    from cl_sr.inference.fields import Fields
    from cl_sr.inference.several import before, mean_and_spread, sheet
    from cl_sr.inference.writing import save

    _check_size(job, picture, restorer.scale)
    # Where there is room for the results there is room for what is too large for memory.
    place = next(parent for parent in job.target.absolute().parents if parent.exists())
    samples: list[Upscaled] = []
    for number, target in enumerate(job.drawn):
        each = replace(
            request,
            seed=request.seed + number,
            folder=place,
            progress=lambda share, number=number: advance(number + share),  # type: ignore[misc]
        )
        made = _enlarged(job, picture, restorer, each, sampling)
        save(made, target)
        yield f"{target}: {_told(picture, made, restorer)}"
        samples.append(made)
    columns: dict[str, Image.Image | Upscaled] = {
        "before": before(picture, restorer.scale),
        "after": samples[0],
    }
    if job.samples > 1:
        mean, spread, white = mean_and_spread(samples, Fields(restorer.device, place))
        save(mean, job.named("mean"))
        save(spread, job.named("spread"))
        columns |= {f"mean of {job.samples}": mean, f"spread (white: {white:.1f})": spread}
        yield f"{job.named('mean')}: of {job.samples} samples"
        yield f"{job.named('spread')}: white is a standard deviation of {white:.1f} of 255"
    if job.sheet:
        save(sheet(columns), job.named("sheet"))
        yield f"{job.named('sheet')}: {' | '.join(columns)}"


def _check_size(job: Job, picture: Image.Image, scale: int) -> None:
    most = LARGEST.get(FORMATS[job.target.suffix.lower()])
    if most is not None and max(picture.size) * scale > most:
        raise InputError(
            f"{job.source}: {scale} times {picture.width}x{picture.height} pixels are too many for "
            f"{job.target.suffix}, which holds {most} a side: take .png or .tif"
        )


def _enlarged(
    job: Job, picture: Image.Image, restorer: Restorer, request: Request, sampling: Sampling
) -> Upscaled:
    try:
        return restorer.enlarge(picture, request, sampling)
    except ValueError as error:
        raise InputError(f"{job.source}: {error}") from error
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise InputError(
            f"{job.source}: {picture.width}x{picture.height} pixels are too many for the memory of "
            f"{restorer.device}: lower --batch, or give --tile"
        ) from error


def _told(picture: Image.Image, made: Upscaled, restorer: Restorer) -> str:
    from cl_sr.inference.restorer import expert_name

    many = _frames(picture)
    first = f", the first of {many} frames" if many > 1 else ""
    height, width, _ = made.pixels.shape
    told = f"{picture.width}x{picture.height}{first} to {width}x{height} pixels"
    if restorer.routes:
        tiles = {expert_name(restorer, k): count for k, count in made.experts.most_common()}
        parts = [f"{name} ({count} tiles)" for name, count in tiles.items()]
        told += f", as {next(iter(tiles)) if len(tiles) == 1 else ' and '.join(parts)}"
    if made.consistency is not None:
        told += f", consistent with the input to {made.consistency:.1f} dB"
    return told
