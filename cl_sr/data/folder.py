"""Reading a folder of images as people have them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cl_sr.image_size import ImageSize, sides

SUFFIXES = {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff"}
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")


# track(items, total): passes items on, showing how many have come.
Track = Callable[[Iterable[Any], int], Iterable[Any]]


def untracked(items: Iterable[Any], total: int) -> Iterable[Any]:
    return items


@dataclass(frozen=True)
class ImageFile:
    """One image: where it came from, its content hash, its own size, and what is kept of it."""

    path: str
    sha256: str
    width: int
    height: int
    pixels: np.ndarray | None


def same_image(path: Path, sha256: str) -> bool:
    """Whether there is a file, and it is the image of this content hash."""
    try:
        return digest(read_rgb(path)) == sha256
    # Damaged files make Pillow raise OSError, SyntaxError, struct.error and more.
    except Exception:
        return False


@dataclass(frozen=True)
class Unreadable:
    """A file that could not be used, and why."""

    path: Path
    reason: str


def find_images(folder: Path) -> list[Path]:
    """All image files below `folder` by suffix, sorted by their path; links are followed once.

    Hidden folders are left out (`.ipynb_checkpoints`, thumbnails). A folder that cannot be read is
    in the list itself, so that it is told as a broken image is.
    """
    return sorted(_walk(folder, set()))


def any_image(folder: Path) -> bool:
    """Whether there is an image file below `folder`, by suffix."""
    return next(_walk(folder, set()), None) is not None


def _walk(folder: Path, seen: set[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in seen:  # a loop of symbolic links
        return
    seen.add(real)
    try:
        with os.scandir(folder) as scanned:
            entries = list(scanned)
    except OSError:
        yield folder
        return
    for entry in entries:
        if os.path.isdir(entry.path):
            if not entry.name.startswith("."):
                yield from _walk(Path(entry.path), seen)
        elif os.path.splitext(entry.name)[1].lower() in SUFFIXES and (
            # A pipe would block for ever; a link to nothing is told as unreadable.
            os.path.isfile(entry.path) or not os.path.exists(entry.path)
        ):
            yield Path(entry.path)


def read_rgb(path: Path) -> np.ndarray:
    """An image file as uint8 `(H, W, 3)`, see `read_pixels`."""
    return read_pixels(path, 3)


def read_pixels(path: Path, channels: int) -> np.ndarray:
    """An image file as uint8 `(H, W, channels)`: upright, on white where it is transparent.

    Args:
        path: the file.
        channels: 3, or 1: grey is Pillow's "L", the luma of BT.601.

    Raises:
        Exception: not a readable image; Pillow raises many kinds.
    """
    with Image.open(path, formats=FORMATS) as image:
        image.load()
        upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith(("I", "F")):  # 16-bit grey: Pillow's own conversion clips at 255
        whole = upright.mode.startswith("I")
        peak = 65535 if whole else max(float(np.asarray(upright, np.float64).max()), 1e-12)
        return np.repeat(of_8_bit(upright, peak)[..., None], channels, axis=2)
    if upright.has_transparency_data:
        rgba = upright.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        upright = Image.alpha_composite(white, rgba)
    return of_channels(upright, channels)


def of_channels(image: Image.Image, channels: int) -> np.ndarray:
    """Colours as uint8 `(H, W, 3)`, or grey as `(H, W, 1)`."""
    pixels = np.asarray(image.convert("RGB" if channels == 3 else "L"))
    return pixels.reshape(*pixels.shape[:2], channels)


def picture_of(pixels: np.ndarray) -> Image.Image:
    """The inverse of `of_channels`."""
    return Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0])


def of_8_bit(grey: Image.Image, peak: float) -> np.ndarray:
    """Grey of more bits, or of floats, as uint8 `(H, W)`: what is `peak` becomes 255."""
    values = np.asarray(grey, dtype=np.float64)
    return np.clip(np.rint(values * (255 / peak)), 0, 255).astype(np.uint8)


def why_not(path: Path, error: Exception) -> str:
    """Why an image could not be read, in one line without the path."""
    if path.is_dir():
        return "a folder that cannot be read"
    if isinstance(error, UnidentifiedImageError):
        kinds = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        return f"not a {kinds} image" if path.stat().st_size else "an empty file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:200] or type(error).__name__


def fit(pixels: np.ndarray, size: ImageSize) -> np.ndarray:
    """Resize until both sides reach `size` (bicubic) and cut out the middle: `(H, W, C)`.

    The order of the public SR3 code's preparation; images of the right shape are only resized.
    """
    height, width = pixels.shape[:2]
    least = sides(size)
    if (height, width) == least:
        return pixels
    ratio = max(least[0] / height, least[1] / width)
    high, wide = max(least[0], round(height * ratio)), max(least[1], round(width * ratio))
    resized = picture_of(pixels).resize((wide, high), Image.Resampling.BICUBIC)
    return center_crop(of_channels(resized, pixels.shape[2]), size)


def center_crop(pixels: np.ndarray, size: ImageSize) -> np.ndarray:
    """The middle `(H, W, C)` of an image at least that large."""
    height, width = sides(size)
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


def digest(pixels: np.ndarray) -> str:
    """SHA-256 of the decoded pixels and their shape: equal for copies in any file format."""
    return hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def read_all(
    paths: list[Path],
    smallest: ImageSize,
    prepare: Callable[[np.ndarray], np.ndarray | None],
    track: Track = untracked,
    channels: int = 3,
) -> tuple[list[ImageFile], list[Unreadable]]:
    """Read many files with threads.

    Args:
        paths: the files.
        smallest: images less high or wide are set aside like broken ones.
        prepare: what to keep in memory of an image's pixels.
        track: passes the results on and shows how many have come.
        channels: see `read_pixels`.
    """
    images: list[ImageFile] = []
    unreadable: list[Unreadable] = []
    read = partial(_read, smallest=smallest, prepare=prepare, channels=channels)
    with ThreadPoolExecutor() as pool:
        results = pool.map(read, paths)
        for result in track(results, len(paths)):
            (images if isinstance(result, ImageFile) else unreadable).append(result)  # type: ignore[arg-type]
    return images, unreadable


def _read(
    path: Path,
    smallest: ImageSize,
    prepare: Callable[[np.ndarray], np.ndarray | None],
    channels: int,
) -> ImageFile | Unreadable:
    try:
        pixels = read_pixels(path, channels)
    # Damaged files make Pillow raise OSError, SyntaxError, struct.error and more.
    except Exception as error:
        return Unreadable(path, why_not(path, error))
    height, width = pixels.shape[:2]
    high, wide = sides(smallest)
    if height < high or width < wide:
        needed = high if high == wide else f"{wide}x{high}"
        return Unreadable(path, f"{width}x{height} pixels, at least {needed} are needed")
    return ImageFile(str(path), digest(pixels), width, height, prepare(pixels))
