"""Enlarged pictures as image files, of any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cl_sr.errors import InputError
from cl_sr.files import whole_file
from cl_sr.inference.fields import IN_MEMORY
from cl_sr.inference.formats import FORMATS
from cl_sr.inference.upscaling import Upscaled

QUALITY = 95  # of JPEG


def save(made: Upscaled, target: Path) -> None:
    """Write a picture in the format of its name; the file appears whole or not at all.

    Args:
        made: the picture.
        target: its ending is one of `FORMATS`.

    Raises:
        InputError: it cannot be written.
    """
    kind = FORMATS[target.suffix.lower()]
    try:
        with whole_file(target) as partial:
            if made.pixels.nbytes > IN_MEMORY and kind != "BMP":
                _stream(made, partial, target.suffix.lower(), kind)
            else:
                _write(made, partial, kind)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror or error}") from error


def _write(made: Upscaled, partial: Path, kind: str) -> None:
    picture = made.picture()
    options: dict[str, Any] = {"icc_profile": made.profile}
    if kind == "JPEG":  # which has no transparency
        picture = picture.convert("L" if picture.mode in ("L", "LA") else "RGB")
        options["quality"] = QUALITY
    picture.save(partial, format=kind, **options)


def _stream(made: Upscaled, partial: Path, suffix: str, kind: str) -> None:
    """With libvips, which asks for a picture line by line: Pillow would have all in memory."""
    import pyvips

    height, width, channels = made.pixels.shape
    image = pyvips.Image.new_from_memory(made.pixels.data, width, height, channels, "uchar")
    image = image.copy(interpretation="b-w" if channels < 3 else "srgb")
    if made.profile:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", made.profile)
    if kind == "JPEG" and channels in (2, 4):
        image = image.extract_band(0, n=channels - 1)
    image.set_progress(True)
    image.signal_connect("eval", lambda *_: made.settle())
    options: dict[str, Any] = {}
    if kind == "JPEG":
        options["Q"] = QUALITY
    elif kind == "TIFF":
        options["bigtiff"] = made.pixels.nbytes > 2**32 - 2**24
    try:
        pyvips.Operation.call(f"{kind.lower()}save", image, str(partial), **options)
    except pyvips.Error as error:
        raise OSError(" ".join(str(error).split())[:200]) from error
