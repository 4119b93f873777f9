"""Which pictures are meant on a command line, and where their results go."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cl_sr.errors import InputError


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
        picture, options = picture.convert("L" if picture.mode in ("L", "LA") else "RGB"), options
        options["quality"] = 95
    try:
        with whole_file(target) as partial:
            picture.save(partial, format=kind, **options)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror or error}") from error


FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
