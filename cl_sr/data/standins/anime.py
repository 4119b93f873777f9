"""Stand-ins for anime faces: flat colours, dark outlines, big eyes, pointed hair."""

from itertools import pairwise

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from cl_sr.data.standins.canvas import Pixels, oversampled
from cl_sr.data.standins.pen import Colour, Dye, Pen, Point, arc, dye, hsv, smooth, toward

Lock = tuple[Point, Point, Point]  # left root, right root, tip

WHITE: Colour = (255, 255, 255)
LINE: Colour = (84, 44, 44)
LASH: Colour = (38, 22, 32)
# Natural hair of drawn characters: hue, saturation, value. Half of them have any hue instead.
NATURAL_HAIR = (
    (0.07, 0.60, 0.45),
    (0.06, 0.65, 0.62),
    (0.12, 0.55, 0.98),
    (0.70, 0.20, 0.24),
    (0.65, 0.10, 0.88),
    (0.03, 0.70, 0.85),
)


def backdrop(rng: np.random.Generator, resolution: int) -> Image.Image:
    """Plain white, a flat tint, a gradient, or stripes."""
    kind, hue = rng.random(), rng.random()
    top, bottom = hsv(hue, rng.uniform(0.05, 0.6), 1.0), hsv(hue + 0.1, 0.15, 1.0)
    if kind < 0.4:
        top = bottom = WHITE if kind < 0.25 else top
    ramp = np.linspace(top, bottom, resolution).round().astype(np.uint8)
    picture = Image.fromarray(np.repeat(ramp[:, None], resolution, axis=1))
    if kind > 0.75:
        stripes, lean = ImageDraw.Draw(picture), rng.uniform(-0.5, 0.5)
        for i in np.arange(-0.5, 1.5, rng.uniform(0.2, 0.4)).tolist():
            ends = [(resolution * i, 0), (resolution * (i + lean), resolution)]
            stripes.line(ends, fill=toward(top, WHITE, 0.5), width=resolution // 12)
    return picture


def lock(pen: Pen, left: Point, right: Point, tip: Point, bend: float, hair: Dye) -> None:
    """A pointed strand of hair between two roots and a tip, one side of it in shadow."""
    middle = ((left[0] + 2 * right[0]) / 3, (left[1] + 2 * right[1]) / 3)
    edge, ridge, far = (arc(root, tip, bend) for root in (left, middle, right))
    far.reverse()
    pen.fill(edge + far, hair.base)
    pen.fill(ridge + far, hair.shade)
    pen.stroke(edge + far, hair.ink, 0.018)


def back_hair(rng: np.random.Generator, pen: Pen, hair: Dye) -> None:
    """The hair behind the head: long, bobbed, short, or in two tails."""
    style = rng.random()
    deep = Dye(hair.shade, toward(hair.shade, hair.ink, 0.4), hair.shine, hair.ink)
    length = 1.4 if style < 0.4 else rng.uniform(0.2, 0.7)
    if style > 0.75:
        for side in (-1, 1):
            out = side * rng.uniform(0.9, 1.2)
            lock(pen, (side * 0.5, -0.7), (side * 0.75, -0.1), (out, 1.4), side * 0.45, hair)
            lock(pen, (side * 0.6, -0.5), (side * 0.7, -0.2), (out, 1.1), side * 0.28, hair)
    wide = rng.uniform(0.76, 0.92)
    right = [(0.5, -0.85), (wide, 0.0), (wide, length)]
    pen.shape(right + [(-x, y) for x, y in reversed(right)], deep.base, deep.ink)
    for i in range(7):
        x, jitter = wide * (i - 3) / 3, rng.uniform(-0.12, 0.12)
        tip = (x * 1.15 + jitter, length + 0.2 + 1.5 * jitter)
        roots = (0.75 * x - 0.2, length - 0.5), (0.75 * x + 0.2, length - 0.5)
        lock(pen, *roots, tip, x * 0.1, deep)


def body(rng: np.random.Generator, pen: Pen, skin: Dye) -> None:
    """Neck, shoulders and a collar."""
    cloth = dye(rng.random(), rng.uniform(0.1, 0.8), rng.uniform(0.35, 1.0))
    pen.shape([(-0.2, 0.6), (0.2, 0.6), (0.24, 1.2), (-0.24, 1.2)], skin.shade, skin.ink)
    for side in (-1, 1):
        shoulder = [(0.2, 0.92), (0.75, 1.08), (1.0, 1.6), (0.0, 1.6), (0.02, 1.15)]
        pen.shape([(side * x, y) for x, y in shoulder], cloth.base, cloth.ink)
        collar = [(0.2, 0.88), (0.5, 1.02), (0.28, 1.2), (0.02, 1.12)]
        pen.shape([(side * x, y) for x, y in collar], cloth.shine, cloth.ink)


def face(rng: np.random.Generator, pen: Pen, skin: Dye, yaw: float) -> list[Point]:
    """The bare face with ears, blush and nose; returns its outline."""
    for side in (-1, 1):
        ear = [(side * 0.56, 0.0), (side * 0.72, 0.06), (side * 0.56, 0.34)]
        pen.shape(ear, skin.base, skin.ink)
    cheek = rng.uniform(0.46, 0.54)
    half = [(0.58, -0.4), (0.60, 0.12), (cheek, 0.42), (0.28, 0.67), (0.06, 0.81)]
    right = [(x + yaw * max(y, 0), y) for x, y in half]
    left = [(-x + yaw * max(y, 0), y) for x, y in reversed(half)]
    outline = smooth([*right, *left], closed=True)
    pen.fill(outline, skin.base)
    blush = rng.uniform(0, 0.5)
    for side in (-1, 1):
        for ring in (1.0, 0.75, 0.5):
            tint = toward(skin.base, (246, 120, 120), blush * (1.25 - ring))
            pen.oval((side * 0.34 + yaw, 0.42), (0.16 * ring, 0.075 * ring), tint)
    pen.stroke([*outline, outline[0]], skin.ink)
    pen.stroke([(yaw + 0.01, 0.40), (yaw + 0.03 * np.sign(yaw), 0.43)], skin.ink, 0.02)
    return outline


def eye(pen: Pen, centre: Point, radii: Point, side: int, slant: float, iris: Dye) -> None:
    """One eye; `side` is 1 where outwards is to the right."""
    (cx, cy), (rx, ry) = centre, radii

    def curve(points: list[Point]) -> list[Point]:
        placed = [(cx + side * rx * x, cy + ry * (y - slant * x)) for x, y in points]
        return smooth(placed, closed=False)

    upper = [(-1.0, 0.1), (-0.6, -0.75), (0.0, -1.0), (0.7, -0.8), (1.0, -0.1)]
    lower = [(1.0, -0.1), (0.7, 0.8), (0.0, 1.0), (-0.7, 0.8), (-1.0, 0.1)]
    pen.fill(curve(upper) + curve(lower), (250, 248, 252))
    middle = cx - side * rx * 0.05
    pen.oval((middle, cy), (rx * 0.72, ry), iris.ink)
    pen.oval((middle, cy + ry * 0.06), (rx * 0.62, ry * 0.86), iris.shade)
    pen.oval((middle, cy + ry * 0.40), (rx * 0.52, ry * 0.50), iris.base)
    pen.oval((middle, cy + ry * 0.62), (rx * 0.36, ry * 0.24), iris.shine)
    pen.oval((middle, cy), (rx * 0.27, ry * 0.40), LASH)
    pen.oval((middle - rx * 0.28, cy - ry * 0.36), (rx * 0.25, ry * 0.27), WHITE)
    pen.oval((middle + rx * 0.34, cy + ry * 0.44), (rx * 0.13, ry * 0.14), WHITE)
    lid = [(-1.1, 0.05), (-0.65, -0.85), (0.0, -1.18), (0.75, -1.0), (1.3, -0.45)]
    lash = [(1.02, -0.15), (0.7, -0.66), (0.0, -0.86), (-0.6, -0.62), (-1.1, 0.05)]
    pen.fill(curve(lid) + curve(lash), LASH)
    pen.stroke(curve([(0.85, 0.65), (0.3, 1.02), (-0.4, 1.0)]), LINE, 0.02)
    pen.stroke(curve([(-0.5, -1.3), (0.1, -1.48), (0.9, -1.25)]), LINE, 0.014)


def eyes(rng: np.random.Generator, pen: Pen, hair: Dye, yaw: float) -> None:
    """Two big eyes, the farther one narrower, and the brows."""
    iris = dye(rng.random(), rng.uniform(0.55, 1.0), rng.uniform(0.65, 1.0))
    wide, high = rng.uniform(0.16, 0.20), rng.uniform(0.17, 0.23)
    slant, frown = rng.uniform(-0.1, 0.2), rng.uniform(-0.05, 0.05)
    for side in (-1, 1):
        centre = (side * 0.31 + yaw, 0.14)
        eye(pen, centre, (wide * (1 - 0.9 * side * yaw), high), side, slant, iris)
        brow = [(0.14, frown), (0.30, -0.04), (0.46, -frown)]
        line = [(side * x + yaw, y - high - 0.02) for x, y in brow]
        pen.stroke(smooth(line, closed=False), hair.ink, 0.026)


def mouth(rng: np.random.Generator, pen: Pen, middle: float) -> None:
    """A small mouth, closed or open."""
    wide, drop, high = rng.uniform(0.07, 0.15), rng.uniform(0.08, 0.16), 0.60
    left, right = (middle - wide, high), (middle + wide, high)
    if rng.random() < 0.4:
        lip = smooth([left, (middle, high + 0.015), right], closed=False)
        half = wide * 0.5
        chin = [right, (middle + half, high + drop), (middle - half, high + drop), left]
        outline = lip + smooth(chin, closed=False)
        pen.fill(outline, (200, 76, 84))
        pen.stroke(outline, LINE, 0.018)
    else:
        bow = (middle, high + rng.uniform(-0.02, 0.05))
        pen.stroke(smooth([left, bow, right], closed=False), LINE, 0.022)


def bangs(rng: np.random.Generator, yaw: float) -> list[Lock]:
    """The locks over the forehead, the outermost first."""
    count = int(rng.integers(4, 8))
    roots = (np.linspace(-0.66, 0.66, count + 1) + rng.normal(0, 0.03, count + 1)).tolist()
    sweep, fringe = rng.uniform(-0.22, 0.22), rng.uniform(-0.12, 0.06)
    locks = []
    for left, right in pairwise(roots):
        middle = (left + right) / 2
        tip = (middle + sweep + yaw, fringe + 0.3 * middle * middle + rng.uniform(-0.14, 0.08))
        locks.append(((left * 0.8 - 0.03, -0.60), (right * 0.8 + 0.03, -0.60), tip))
    return sorted(locks, key=lambda lock: -abs(lock[2][0]))


def hair_shadow(pen: Pen, locks: list[Lock], head: list[Point], skin: Dye) -> None:
    """The shadow that the bangs throw on the forehead, and only there."""
    shadow = pen.mask([(-0.7, -0.6), (0.7, -0.6), (0.7, -0.28), (-0.7, -0.28)])
    for (lx, ly), (rx, ry), (tx, ty) in locks:
        wedge = pen.mask([(lx, ly), (rx, ry), (rx, ry + 0.3), (tx, ty + 0.09), (lx, ly + 0.3)])
        shadow = ImageChops.lighter(shadow, wedge)
    pen.picture.paste(skin.shade, mask=ImageChops.darker(shadow, pen.mask(head)))


def front_hair(rng: np.random.Generator, pen: Pen, hair: Dye, locks: list[Lock]) -> None:
    """The dome of the head, side locks and bangs, and a zigzag band of shine across them."""
    turns = np.linspace(np.pi, 2 * np.pi, 13)
    dome = [(0.80 * x, 0.90 * y) for x, y in zip(np.cos(turns), np.sin(turns), strict=True)]
    inner = [(0.60, -0.02), (0.52, -0.36), (0.0, -0.46), (-0.52, -0.36), (-0.60, -0.02)]
    pen.shape(dome + inner, hair.base, hair.ink)
    long = rng.uniform(0.2, 1.2)
    for side in (-1, 1):
        tip = (side * rng.uniform(0.50, 0.72), long + rng.uniform(-0.1, 0.1))
        lock(pen, (side * 0.44, -0.55), (side * 0.80, -0.10), tip, side * 0.10, hair)
        tip = (side * rng.uniform(0.78, 0.95), rng.uniform(0.2, 0.5))
        lock(pen, (side * 0.66, -0.5), (side * 0.80, -0.12), tip, side * 0.06, hair)
    for left, right, tip in locks:
        lock(pen, left, right, tip, 0.3 * (left[0] + right[0]) / 2, hair)
    for x in rng.uniform(-0.6, 0.6, 5).tolist():
        strand = smooth([(x * 0.3, -0.87), (x * 0.8, -0.72), (x, -0.45)], closed=False)
        pen.stroke(strand, hair.shade, 0.018)
    gleam = np.linspace(-0.58, 0.58, 17).tolist()
    top = [(x, -0.66 + 0.38 * x * x) for x in gleam]
    low = [(x, y + (0.13 if i % 2 else 0.03)) for i, (x, y) in enumerate(top)]
    gap = int(rng.integers(5, 11))
    for part in (slice(0, gap), slice(gap + 1, 17)):
        pen.fill(top[part] + low[part][::-1], hair.shine)


def ornament(rng: np.random.Generator, pen: Pen) -> None:
    """Sometimes a bow, a clip or a band in the hair."""
    kind, side = rng.random(), int(rng.choice([-1, 1]))
    cloth = dye(rng.random(), rng.uniform(0.5, 0.9), rng.uniform(0.7, 1.0))
    x, y = side * 0.58, -0.55
    if kind < 0.2:
        for wing in (-1, 1):
            loop = [(x, y), (x + 0.26 * wing, y - 0.17), (x + 0.24 * wing, y + 0.15)]
            pen.shape(loop, cloth.base, cloth.ink)
        pen.oval((x, y), (0.07, 0.07), cloth.shade)
    elif kind < 0.35:
        for lean in (-0.05, 0.05):
            pen.stroke([(x - 0.1, y + 0.15 - lean), (x + 0.1, y + 0.2 + lean)], cloth.base, 0.045)
    elif kind < 0.45:
        band = [(-0.74, -0.32), (-0.5, -0.66), (0.0, -0.8), (0.5, -0.66), (0.74, -0.32)]
        pen.stroke(smooth(band, closed=False), cloth.ink, 0.11)
        pen.stroke(smooth(band, closed=False), cloth.base, 0.075)


def character(rng: np.random.Generator, size: int) -> Pixels:
    """Draws an anime character's face, framed like the Anime Face data set.

    Args:
        rng: Chooses the picture.
        size: Height and width in pixels.

    Returns:
        RGB, uint8 in [0, 255], of shape (size, size, 3).
    """
    resolution = oversampled(size, 4, least=128)
    picture = backdrop(rng, resolution)
    shift = (rng.uniform(-0.06, 0.06), rng.uniform(-0.05, 0.08))
    pen = Pen(picture, rng.normal(0, 0.12), rng.uniform(1.0, 1.2), shift)
    natural = NATURAL_HAIR[rng.integers(len(NATURAL_HAIR))]
    # Pinks, purples and blues are commoner than greens.
    wild = (rng.beta(2.5, 1.2), rng.uniform(0.3, 0.75), rng.uniform(0.7, 1.0))
    hair = dye(*(natural if rng.random() < 0.5 else wild))
    skin = dye(rng.uniform(0.03, 0.07), rng.uniform(0.08, 0.22), 1.0, shadow=0.89)
    yaw = rng.uniform(-0.12, 0.12)
    back_hair(rng, pen, hair)
    body(rng, pen, skin)
    outline = face(rng, pen, skin, yaw)
    locks = bangs(rng, yaw)
    hair_shadow(pen, locks, outline, skin)
    mouth(rng, pen, yaw)
    eyes(rng, pen, hair, yaw)
    front_hair(rng, pen, hair, locks)
    ornament(rng, pen)
    return np.array(picture.reduce(resolution // size))
