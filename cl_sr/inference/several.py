"""Several samples of one picture: their mean and their spread, which is what a diffusion model is
uncertain of; and pictures side by side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from cl_sr.inference.fields import Block, Fields
from cl_sr.inference.pictures import composed, opened
from cl_sr.inference.upscaling import Upscaled

ROWS = 256  # of a picture that are looked at together
CELL = 768  # pixels of the longer side of a picture on a sheet, at most
LINE = 28  # pixels of a line of words on a sheet


def mean_and_spread(
    samples: Sequence[Upscaled], fields: Fields
) -> tuple[Upscaled, Upscaled, float]:
    """The mean of samples, their spread as a grey picture, and what its white means.

    The spread of a pixel is the standard deviation over the samples (divided by their number less
    one), the root mean square over its colours; black is none, and white the largest there is.

    Args:
        samples: of one picture, at least two, as they are saved: in 8 bits.
        fields: makes room for the two.

    Returns:
        The mean; the spread; the largest spread, in steps of 255.
    """
    shape = samples[0].pixels.shape
    colours = shape[-1] - (shape[-1] in (2, 4))
    mean = fields.new(shape, torch.uint8).cpu().numpy()
    spread = fields.new((*shape[:2], 1), torch.uint8).cpu().numpy()
    deviations = fields.new(shape[:2]).cpu().numpy()
    largest = 0.0
    for rows in _bands(shape[0]):
        values = np.stack([sample.pixels[rows] for sample in samples]).astype(np.float32)
        mean[rows] = np.rint(values.mean(0))
        variance = values[..., :colours].var(0, ddof=1).mean(-1)
        deviations[rows] = np.sqrt(variance)
        largest = max(largest, float(deviations[rows].max()))
        _settle(samples, fields)
    for rows in _bands(shape[0]):
        spread[rows, :, 0] = np.rint(deviations[rows] * (255 / max(largest, 1e-12)))
        _settle(samples, fields)
    profile = samples[0].profile
    return (
        Upscaled(mean, profile, settle=fields.settle),
        Upscaled(spread, settle=fields.settle),
        largest,
    )


def sheet(pictures: Mapping[str, Image.Image | Upscaled]) -> Upscaled:
    """Pictures side by side, each under its heading; large ones are shrunk."""
    cells = {heading: _cell(picture) for heading, picture in pictures.items()}
    height = max(cell.height for cell in cells.values())
    font = ImageFont.load_default(size=16)
    widths = [max(cell.width, 8 + int(font.getlength(heading))) for heading, cell in cells.items()]
    made = Image.new("RGB", (sum(widths) + 4 * (len(cells) - 1), height + LINE), "white")
    draw, left = ImageDraw.Draw(made), 0
    for (heading, cell), width in zip(cells.items(), widths, strict=True):
        draw.text((left + 4, 4), heading, "black", font)
        made.paste(cell, (left, LINE))
        left += width + 4
    return Upscaled(np.asarray(made))


def before(picture: Image.Image, scale: int) -> Image.Image:
    """A picture as it was given, enlarged by Pillow's bicubic filter to what a sheet shows."""
    colours, rest = opened(picture)
    height, width = colours.shape[-2:]
    whole = Block(0, 0, 0, height, width)
    plain = Upscaled(composed(torch.from_numpy(colours), rest, whole, 1).numpy()).picture()
    larger = min(float(scale), max(1.0, CELL / max(height, width)))
    size = max(1, round(width * larger)), max(1, round(height * larger))
    return plain.resize(size, Image.Resampling.BICUBIC)


def _cell(picture: Image.Image | Upscaled) -> Image.Image:
    if isinstance(picture, Upscaled):
        picture = _glimpse(picture)
    if picture.mode in ("LA", "RGBA"):
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    picture = picture.convert("RGB")
    picture.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
    return picture


def _glimpse(made: Upscaled) -> Image.Image:
    """A picture shrunk by a whole number to about twice `CELL`, without all of it in memory."""
    height, width, channels = made.pixels.shape
    far = max(1, max(height, width) // (2 * CELL))
    if far == 1:
        return made.picture()
    rows = []
    for top in range(0, height // far * far, far):
        band = made.pixels[top : top + far, : width // far * far].astype(np.float32)
        rows.append(band.reshape(far, -1, far, channels).mean((0, 2)))
        made.settle()
    return Upscaled(np.rint(np.stack(rows)).astype(np.uint8)).picture()


def _bands(height: int) -> Iterator[slice]:
    return (slice(top, top + ROWS) for top in range(0, height, ROWS))


def _settle(samples: Sequence[Upscaled], fields: Fields) -> None:
    for sample in samples:
        sample.settle()
    fields.settle()
