"""What the three drawers share: a unit canvas, soft masks, fractal noise.

All pictures live on the square [-1, 1] x [-1, 1], x to the right and y down, so that a seed gives
the same picture at every resolution. The random numbers drawn must therefore never depend on the
resolution. Images are (3, height, width), because numpy broadcasts over planes much faster.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Field = npt.NDArray[np.floating[Any]]
Pixels = npt.NDArray[np.uint8]


def oversampled(size: int, factor: int, least: int = 64) -> int:
    """The resolution to draw at: a multiple of `size`, at least `factor * size` and `least`."""
    return size * max(factor, math.ceil(least / size))


def grid(resolution: int) -> tuple[Field, Field]:
    """The x and y coordinates of the pixel centres, each of shape (resolution, resolution)."""
    axis = (np.arange(resolution, dtype=np.float32) + 0.5) * np.float32(2 / resolution) - 1
    x, y = np.meshgrid(axis, axis)
    return x, y


def rgb(colour: npt.ArrayLike) -> Field:
    """A colour, shaped (3, 1, 1) so that it broadcasts over an image."""
    return np.asarray(colour, dtype=np.float32).reshape(3, 1, 1)


def inside(distance: Field, softness: float = 0.02) -> Field:
    """A mask that falls smoothly from 1 to 0 as a signed distance crosses zero."""
    ramp: Field = np.clip(0.5 - distance * (0.5 / softness), 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def bump(x: Field, y: Field, width: float, height: float) -> Field:
    """A Gaussian hill of height 1 at the origin."""
    x, y = x * (1 / width), y * (1 / height)
    hill: Field = np.exp(-(x * x + y * y))
    return hill


def mix(below: Field, above: Field, mask: Field) -> Field:
    """Lays a colour or an image over an image where the mask is 1."""
    return below + (above - below) * mask


def noise(
    rng: np.random.Generator,
    resolution: int,
    cells: tuple[int, int],
    octaves: int = 4,
    gain: float = 0.5,
) -> Field:
    """Fractal value noise with mean 0 and a standard deviation of about 0.4.

    Args:
        rng: Draws the same lattices at every resolution.
        resolution: Height and width in pixels.
        cells: The coarsest lattice, columns and rows; unequal ones stretch the noise.
        octaves: How many lattices are added, each twice as fine as the one before.
        gain: The weight of a lattice relative to the one before.

    Returns:
        The noise, (resolution, resolution).
    """
    weights = gain ** np.arange(octaves)
    weights /= np.sqrt((weights**2).sum())
    total = np.zeros((resolution, resolution), dtype=np.float32)
    for octave, weight in enumerate(weights.tolist()):
        shape = (cells[1] << octave, cells[0] << octave)
        lattice = Image.fromarray(rng.random(shape, dtype=np.float32) * 2 - 1)
        layer = lattice.resize((resolution, resolution), Image.Resampling.BICUBIC)
        total += weight * np.asarray(layer)
    return total


def painted(picture: Image.Image) -> Field:
    """An RGB picture as an image in [0, 1]."""
    image: Field = np.asarray(picture, dtype=np.float32).transpose(2, 0, 1) * np.float32(1 / 255)
    return image


def sheet(image: Field) -> Image.Image:
    """An image in [0, 1] as an RGB picture."""
    pixels = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def develop(image: Field, size: int) -> Pixels:
    """Turns an oversampled image in [0, 1] into the final (size, size, 3) uint8 pixels."""
    picture = sheet(image)
    return np.array(picture.reduce(picture.width // size))
