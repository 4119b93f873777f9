"""The size of images, as configurations and checkpoints tell it: H = W, or H and W, in pixels."""

from __future__ import annotations

from collections.abc import Sequence

ImageSize = int | tuple[int, int]


def sides(size: int | Sequence[int]) -> tuple[int, int]:
    """H and W.

    Raises:
        ValueError: neither one number nor two.
    """
    both = (size, size) if isinstance(size, int) else tuple(size)
    if len(both) != 2 or any(type(side) is not int or side < 1 for side in both):
        raise ValueError(f"image_size={size!r}: one number of pixels, or two: [height, width]")
    return both[0], both[1]


def image_size(size: int | Sequence[int]) -> ImageSize:
    """One number where both sides are the same.

    Raises:
        ValueError: neither one number nor two.
    """
    height, width = sides(size)
    return height if height == width else (height, width)


def spelled(size: int | Sequence[int]) -> str:
    """As on a command line: `32`, or `[96,128]`."""
    found = image_size(size)
    return str(found) if isinstance(found, int) else f"[{found[0]},{found[1]}]"


def enlarged(size: int | Sequence[int], scale: int) -> str:
    """From which low-resolution images: `8 to 32 px`, or `24x32 to 96x128 px`."""
    low = [side // scale for side in sides(size)]
    return f"{in_words(low)} to {in_words(size)} px"


def in_words(size: int | Sequence[int]) -> str:
    """As in a text: `32`, or `96x128`, height first as everywhere in a configuration."""
    found = image_size(size)
    return str(found) if isinstance(found, int) else f"{found[0]}x{found[1]}"
