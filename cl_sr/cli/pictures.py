"""Which pictures are meant on a command line, and where their results go."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cl_sr.errors import InputError, out_of_memory

if TYPE_CHECKING:
    from rich.console import Console

Read = TypeVar("Read")
FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}


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
    """`out/NAME.png`, in sub-folders as in the source; `NAME.jpg.png` where names would meet.

    Raises:
        InputError: two results of one name.
    """
    plain = Counter(name.with_suffix("") for _, name in sources)
    found = [
        out / (name.with_suffix(".png") if plain[name.with_suffix("")] == 1 else f"{name}.png")
        for _, name in sources
    ]
    counts = Counter(found)
    for (source, _), target in zip(sources, found, strict=True):
        if counts[target] > 1:
            raise InputError(
                f"{source} and another image would both become {target}: give their folders one "
                "at a time"
            )
    return found


def save(picture: Any, target: Path) -> None:
    """Write a picture in the format of its name; the file appears whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    from cl_sr.files import whole_file

    kind = FORMATS[target.suffix.lower()]
    options: dict[str, Any] = {"icc_profile": picture.info.get("icc_profile")}
    if kind == "JPEG":  # which has no transparency
        picture = picture.convert("L" if picture.mode in ("L", "LA") else "RGB")
        options["quality"] = 95
    try:
        with whole_file(target) as partial:
            picture.save(partial, format=kind, **options)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror or error}") from error


def draw_all(
    work: Sequence[tuple[Path, Path]],
    messages: Console,
    title: str,
    read: Callable[[Path], Read],
    draw: Callable[[Path, Read, Callable[[float], None]], tuple[Any, str]],
    too_large: Callable[[Read], str],
) -> Iterator[Path]:
    """Make pictures one by one; each is written, told and given before the next is begun.

    Args:
        work: files, and where their results go.
        messages: for progress and for what was skipped; results are told on the standard output.
        title: of the bar.
        read: reads a file; what it cannot read is skipped and told at the end.
        draw: makes a picture of a file and what was read of it, and says what it made; it tells the
            share of it that is done.
        too_large: what to say where that takes too much memory.

    Raises:
        InputError: no image could be read, or one takes too much memory.
    """
    from rich.console import Console
    from rich.progress import Progress

    results = Console(markup=False, highlight=False, soft_wrap=True)
    done, unreadable = 0, []
    with Progress(console=messages, disable=not messages.is_terminal, transient=True) as progress:
        bar = progress.add_task(title, total=len(work))
        for number, (source, target) in enumerate(work):
            progress.update(bar, completed=number)
            try:
                found = read(source)
            # Damaged files make Pillow raise OSError, SyntaxError, struct.error and more.
            except Exception as error:
                unreadable.append(f"{source}: {' '.join(str(error).split())[:200]}")
                continue

            def advance(share: float, number: int = number) -> None:
                progress.update(bar, completed=number + share)

            try:
                picture, told = draw(source, found, advance)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                raise InputError(f"{source}: {too_large(found)}") from error
            save(picture, target)
            done += 1
            results.print(f"{target}: {told}")
            yield target
    for line in unreadable:
        messages.print(f"skipped {line}", style="yellow")
    if not done:
        raise InputError("no image could be read")
