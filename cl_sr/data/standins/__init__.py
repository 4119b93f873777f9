"""Procedural stand-ins: images drawn by code that stand in for real data sets.

They let a newcomer see everything work without a download, and let the tests run anywhere.
Nothing in them comes from a real image, and they must be reported as `stand-in`.
"""

import zlib

import numpy as np

from cl_sr.data.standins.anime import character
from cl_sr.data.standins.canvas import Pixels
from cl_sr.data.standins.portraits import portrait
from cl_sr.data.standins.scenes import scene

__all__ = ["DOMAINS", "draw"]

_DRAWERS = {"celeba": portrait, "animef": character, "df2k-ost": scene}

DOMAINS: tuple[str, ...] = tuple(_DRAWERS)


def draw(domain: str, size: int, seed: int) -> Pixels:
    """Draws one stand-in image.

    The same arguments give the same bytes in every process; another size gives the same picture
    at another resolution.

    Args:
        domain: One of `DOMAINS`.
        size: Height and width in pixels, at least 1.
        seed: A non-negative integer that chooses the picture.

    Returns:
        RGB, uint8 in [0, 255], of shape (size, size, 3).

    Raises:
        ValueError: If the domain is unknown.
    """
    if domain not in _DRAWERS:
        raise ValueError(f"no stand-in for domain {domain!r}; there are: {', '.join(DOMAINS)}")
    # crc32, because hash() of a string differs from process to process.
    rng = np.random.default_rng([zlib.crc32(domain.encode()), seed])
    return _DRAWERS[domain](rng, size)
