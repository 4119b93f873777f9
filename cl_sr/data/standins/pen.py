"""Flat drawing: colours, smooth curves, and a pen that works in unit coordinates."""

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

Point = tuple[float, float]
Colour = tuple[int, int, int]


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """A colour from hue, saturation and value in [0, 1]."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def toward(colour: Colour, other: Colour, share: float) -> Colour:
    """The colour moved towards another one."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))
    return red, green, blue


_STEPS = [i / 8 for i in range(9)]
_CIRCLE = [(math.cos(math.pi * i / 12), math.sin(math.pi * i / 12)) for i in range(24)]
# Catmull-Rom weights of four neighbouring points, at six places between the middle two.
_T = np.arange(6)[:, None] / 6
_WEIGHTS = 0.5 * np.hstack(
    [-_T + 2 * _T**2 - _T**3, 2 - 5 * _T**2 + 3 * _T**3, _T + 4 * _T**2 - 3 * _T**3, _T**3 - _T**2]
)


def smooth(points: Sequence[Point], closed: bool) -> list[Point]:
    """A Catmull-Rom curve through the points."""
    if closed:
        around = np.array([points[-1], *points, *points[:2]])
    else:
        around = np.array([points[0], *points, points[-1]])
    windows = np.stack([around[i : len(around) - 3 + i] for i in range(4)], axis=1)
    curve = (_WEIGHTS @ windows).reshape(-1, 2)
    return list(map(tuple, curve.tolist())) + ([] if closed else [points[-1]])


def arc(start: Point, end: Point, bend: float) -> list[Point]:
    """A parabola from start to end whose middle is pushed sideways."""
    (ax, ay), (bx, by) = start, end
    return [(ax + (bx - ax) * t + 4 * bend * t * (1 - t), ay + (by - ay) * t) for t in _STEPS]


@dataclass(frozen=True)
class Dye:
    """The colours of one material: lit, in shadow, in the light's reflection, and its outline."""

    base: Colour
    shade: Colour
    shine: Colour
    ink: Colour


def dye(hue: float, saturation: float, value: float, shadow: float = 0.8) -> Dye:
    """A material from its base colour; its shadow is a little bluer, as painters have it."""
    toned = min(saturation * 1.2 + 0.05, 1)
    return Dye(
        base=hsv(hue, saturation, value),
        shade=hsv(hue - 0.02, toned, value * shadow),
        shine=hsv(hue, saturation * 0.4, min(value * 1.2 + 0.12, 1)),
        ink=hsv(hue - 0.03, min(toned * 1.1, 1), value * 0.38),
    )


class Pen:
    """Draws shapes, given on the square [-1, 1] x [-1, 1], into a tilted picture."""

    def __init__(self, picture: Image.Image, tilt: float, scale: float, shift: Point) -> None:
        self.picture = picture
        self._draw = ImageDraw.Draw(picture)
        self._half = picture.width / 2
        self._cos, self._sin = scale * math.cos(tilt), scale * math.sin(tilt)
        self._shift = shift

    def place(self, points: Sequence[Point]) -> list[Point]:
        """The pixel coordinates of points."""
        (across, down), half, cos, sin = self._shift, self._half, self._cos, self._sin
        return [
            (half * (1 + across + cos * x - sin * y), half * (1 + down + sin * x + cos * y))
            for x, y in points
        ]

    def fill(self, points: Sequence[Point], colour: Colour) -> None:
        """Fills a polygon."""
        self._draw.polygon(self.place(points), fill=colour)

    def stroke(self, points: Sequence[Point], colour: Colour, width: float = 0.022) -> None:
        """Draws a line along the points."""
        pixels = max(1, round(width * self._half))
        self._draw.line(self.place(points), fill=colour, width=pixels, joint="curve")

    def shape(self, points: Sequence[Point], colour: Colour, ink: Colour) -> None:
        """Fills a smooth closed shape and outlines it."""
        curve = smooth(points, closed=True)
        self.fill(curve, colour)
        self.stroke([*curve, curve[0]], ink)

    def oval(self, centre: Point, radii: Point, colour: Colour) -> None:
        """Fills an ellipse."""
        (x, y), (wide, high) = centre, radii
        self.fill([(x + wide * cos, y + high * sin) for cos, sin in _CIRCLE], colour)

    def mask(self, points: Sequence[Point]) -> Image.Image:
        """A polygon as a mask of the picture's size."""
        mask = Image.new("L", self.picture.size)
        ImageDraw.Draw(mask).polygon(self.place(points), fill=255)
        return mask
