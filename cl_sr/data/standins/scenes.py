"""Stand-ins for photographs of textures, plants, buildings and landscapes."""

import math

import numpy as np
from PIL import Image

from cl_sr.data.standins.canvas import (
    Field,
    Pixels,
    develop,
    grid,
    inside,
    mix,
    noise,
    oversampled,
    painted,
    rgb,
    sheet,
)
from cl_sr.data.standins.pen import Colour, Pen, Point
from cl_sr.data.standins.textures import bricks, cloth, cobbles, fur, marble, planks


def tone(colour: np.ndarray, brightness: float) -> Colour:
    """A colour in [0, 1] as 8-bit integers, made brighter or darker."""
    red, green, blue = np.clip(colour * (255 * brightness), 0, 255).astype(int).tolist()
    return red, green, blue


def sky(rng: np.random.Generator, resolution: int) -> Field:
    """Blue, grey or evening sky with clouds."""
    _, y = grid(resolution)
    zeniths = ((0.25, 0.45, 0.75), (0.45, 0.60, 0.80), (0.60, 0.64, 0.70), (0.42, 0.42, 0.58))
    lows = ((0.75, 0.85, 0.95), (0.85, 0.90, 0.95), (0.80, 0.82, 0.84), (0.95, 0.65, 0.45))
    kind = int(rng.integers(len(lows)))
    air = mix(rgb(zeniths[kind]), rgb(lows[kind]), np.clip(y * 0.6 + 0.6, 0, 1))
    clouds = noise(rng, resolution, (2, 5), 5, gain=0.55)
    return mix(air, rgb([0.97, 0.96, 0.95]), inside(rng.uniform(0.1, 0.5) - clouds, 0.3) * 0.85)


def leaves(rng: np.random.Generator, resolution: int) -> Field:
    """Overlapping leaves, the deeper ones darker, sometimes with flowers."""
    picture = Image.new("RGB", (resolution, resolution), (14, 22, 12))
    pen = Pen(picture, 0, 1, (0, 0))
    greens = ((0.36, 0.55, 0.20), (0.25, 0.48, 0.22), (0.50, 0.58, 0.22), (0.70, 0.42, 0.15))
    green = np.array(greens[rng.integers(len(greens))])
    length, slim, lean = rng.uniform(0.2, 0.42), rng.uniform(0.25, 0.5), rng.uniform(0, 6.3)
    count = int(22 / length**1.2)
    bloom = rng.random() < 0.3
    petal = rng.uniform(0.3, 1.0, 3)
    for depth in np.linspace(0.25, 1.1, count).tolist():
        cx, cy = rng.uniform(-1.1, 1.1, 2).tolist()
        turn, half = rng.normal(lean, 1.0), length * rng.uniform(0.7, 1.2)
        ax, ay = half * math.cos(turn), half * math.sin(turn)
        bx, by = -ay * slim, ax * slim
        hue = green * rng.uniform(0.85, 1.15, 3)
        root, tip = (cx - ax, cy - ay), (cx + ax, cy + ay)
        left = [(cx - 0.4 * ax + bx, cy - 0.4 * ay + by), (cx + 0.3 * ax + bx, cy + 0.3 * ay + by)]
        right = [(cx + 0.3 * ax - bx, cy + 0.3 * ay - by), (cx - 0.4 * ax - bx, cy - 0.4 * ay - by)]
        sun = 0.25 if by > 0 else -0.25
        pen.fill([root, *left, tip], tone(hue, depth * (1 - sun)))
        pen.fill([tip, *right, root], tone(hue, depth * (1 + sun)))
        pen.stroke([root, tip], tone(hue, depth * 1.5), 0.012)
        if bloom and rng.random() < 0.07:
            for spoke in np.arange(0, 6.2, 1.26).tolist():
                at = (cx + 0.09 * math.cos(spoke + turn), cy + 0.09 * math.sin(spoke + turn))
                pen.oval(at, (0.07, 0.07), tone(petal, 0.7 + 0.3 * depth))
            pen.oval((cx, cy), (0.05, 0.05), (230, 190, 60))
    return painted(picture) * (1 + 0.25 * noise(rng, resolution, (4, 4), 5, gain=0.7))


def grass(rng: np.random.Generator, resolution: int) -> Field:
    """Blades of grass before a blurred meadow."""
    _, y = grid(resolution)
    glow = rgb(rng.uniform(0.55, 0.8) + np.array([0.0, 0.05, -0.15]) * rng.uniform(-0.5, 1.5))
    far = mix(glow, rgb([0.16, 0.22, 0.09]), np.clip(y * 0.5 + 0.5, 0, 1))
    far = far * (1 + 0.25 * noise(rng, resolution, (4, 4), 2))
    picture = sheet(far)
    pen = Pen(picture, 0, 1, (0, 0))
    blade = np.array([rng.uniform(0.25, 0.68), rng.uniform(0.52, 0.62), rng.uniform(0.12, 0.3)])
    wind, high = rng.normal(0, 0.3), rng.uniform(0.8, 1.6)
    for depth in np.linspace(0.35, 1.15, 150).tolist():
        foot, bend = rng.uniform(-1.3, 1.3), rng.normal(wind, 0.25)
        top = 1 - high * rng.uniform(0.5, 1.2) * (1.4 - 0.5 * depth)
        half = 0.016 + 0.022 * depth
        tip, knee = (foot + bend, top), (foot + bend * 0.35, (1.1 + top) / 2)
        hue = tone(blade * rng.uniform(0.85, 1.15, 3), depth)
        pen.fill([(foot - half, 1.1), (knee[0] - half, knee[1]), tip, knee, (foot, 1.1)], hue)
        hue = tone(blade, depth * 0.7)
        pen.fill([(foot, 1.1), knee, tip, (knee[0] + half, knee[1]), (foot + half, 1.1)], hue)
    return painted(picture)


def facade(rng: np.random.Generator, resolution: int) -> Field:
    """A house front with rows of windows, seen at an angle, against the sky."""
    picture = sheet(sky(rng, resolution))
    pen = Pen(picture, rng.normal(0, 0.03), 1, (0, 0))
    eaves, vanish = rng.uniform(-1.3, -0.5), rng.uniform(-0.35, 0.35)
    edge = rng.choice([-1.4, -0.7, 1.4]).item()

    def at(u: float, v: float) -> Point:
        """A point of the wall: u from its edge to the other side, v from eaves to ground."""
        x = edge - u * math.copysign(3, edge)
        height = 1 + vanish * x
        return x, 0.4 + (eaves - 0.4 + v * (1.7 - eaves)) * height

    def panel(u: float, v: float, wide: float, high: float, colour: Colour) -> None:
        """Fills a rectangle of the wall."""
        pen.fill([at(u, v), at(u + wide, v), at(u + wide, v + high), at(u, v + high)], colour)

    walls = ((0.78, 0.70, 0.58), (0.62, 0.36, 0.28), (0.80, 0.80, 0.78), (0.45, 0.48, 0.54))
    wall = np.array(walls[rng.integers(len(walls))]) * rng.uniform(0.8, 1.1)
    frame = np.array([0.92, 0.90, 0.86]) if rng.random() < 0.6 else wall * 0.5
    panel(-0.02, -0.04, 1.1, 0.05, tone(wall, 0.6))
    panel(0, 0, 1.1, 1.1, tone(wall, 1))
    columns, rows = int(rng.integers(5, 11)), int(rng.integers(3, 7))
    wide, high = rng.uniform(0.45, 0.7) / columns, rng.uniform(0.5, 0.72) / rows
    bars = bool(rng.random() < 0.6)
    for j in range(rows):
        panel(0, (j + 0.02) / rows, 1.1, 0.06 / rows, tone(wall, 1.15))
        for i in range(columns):
            u, v = (i + 0.25) / columns, (j + 0.2) / rows
            glass = np.array([0.16, 0.20, 0.26]) + rng.uniform(0, 0.25) * np.array([0.8, 0.9, 1.0])
            panel(u - 0.008, v - 0.010, wide + 0.016, high + 0.02, tone(frame, 0.95))
            panel(u, v, wide, high, tone(glass, 1))
            panel(u, v, wide, high * 0.3, tone(glass, 0.55))
            if bars:
                panel(u + wide * 0.45, v, wide * 0.1, high, tone(frame, 0.9))
                panel(u, v + high * 0.5, wide, high * 0.06, tone(frame, 0.9))
            panel(u - 0.012, v + high, wide + 0.024, 0.018, tone(wall, 0.55))
    x, _ = grid(resolution)
    return painted(picture) * (1 + 0.08 * noise(rng, resolution, (10, 10), 3) + 0.12 * x)


def landscape(rng: np.random.Generator, resolution: int) -> Field:
    """Ridges in the haze above water or a meadow, with firs."""
    x, y = grid(resolution)
    image = sky(rng, resolution)
    haze = rgb([0.70, 0.76, 0.84])
    rock = rgb([rng.uniform(0.25, 0.45), rng.uniform(0.28, 0.36), rng.uniform(0.18, 0.34)])
    shore = rng.uniform(0.15, 0.5)
    for distance in (0.75, 0.45, 0.1):
        crest = noise(rng, resolution, (int(3 + 2 / distance**0.5), 1), 5)[resolution // 2]
        ridge = shore - 0.12 - 0.75 * distance + 0.45 * distance**0.5 * crest
        crags = np.clip(1 + 1.2 * noise(rng, resolution, (8, 8), 5, gain=0.65), 0.35, 1.6)
        land = mix(rock * crags, haze, np.full_like(x, distance * 0.8))
        snow = inside(y - ridge - 0.16 - 0.1 * crags, 0.05) * (distance > 0.6)
        land = mix(land, rgb([0.93, 0.95, 0.98]) * crags, snow)
        image = mix(image, land, inside(ridge - y, 0.012))
    if rng.random() < 0.5:
        ripples = noise(rng, resolution, (6, 60), 2) * np.clip(y - shore + 0.3, 0, 1)
        mirrored = np.clip((2 * shore - y[:, 0] + 1) / 2 * resolution, 0, resolution - 1)
        mirror = image[:, mirrored.astype(np.intp)]
        ground = mirror * rgb([0.6, 0.72, 0.8]) * (1 + 0.7 * ripples)
    else:
        tufts = noise(rng, resolution, (40, 20), 3, gain=0.8)
        meadow = rgb([rng.uniform(0.35, 0.6), rng.uniform(0.42, 0.52), 0.20])
        ground = meadow * (0.9 + 0.5 * tufts) * (1.2 - 0.4 * y)
    image = mix(image, ground, inside(shore - y, 0.008))
    picture = sheet(image)
    pen = Pen(picture, 0, 1, (0, 0))
    for foot in np.sort(rng.uniform(shore - 0.05, shore + 0.5, rng.integers(0, 14))).tolist():
        fir(rng, pen, rng.uniform(-1.1, 1.1), foot, 0.3 + 0.9 * (foot - shore + 0.05))
    return painted(picture)


def fir(rng: np.random.Generator, pen: Pen, x: float, foot: float, high: float) -> None:
    """A conifer of ragged tiers."""
    green = np.array([0.12, 0.22, 0.12]) * rng.uniform(0.7, 1.6)
    pen.stroke([(x, foot), (x, foot - high * 0.3)], (60, 44, 32), high * 0.08)
    for tier in range(5):
        top, low = foot - high * (1 - 0.16 * tier), foot - high * (0.72 - 0.15 * tier)
        half = high * (0.09 + 0.045 * tier) * rng.uniform(0.85, 1.15)
        pen.fill([(x, top), (x + half, low), (x - half, low)], tone(green, 0.8))
        pen.fill([(x, top), (x - half * 0.1, low), (x - half, low)], tone(green, 1.4))


TEXTURES = (bricks, planks, cloth, marble, cobbles, fur)
# Plants, buildings and landscapes come twice as often as each of the textures.
KINDS = (*TEXTURES, *(leaves, grass, facade, landscape) * 2)


def scene(rng: np.random.Generator, size: int) -> Pixels:
    """Draws a photograph-like texture, plant, building or landscape.

    Args:
        rng: Chooses the picture.
        size: Height and width in pixels.

    Returns:
        RGB, uint8 in [0, 255], of shape (size, size, 3).
    """
    draw = KINDS[rng.integers(len(KINDS))]
    # The textures have soft edges by themselves; polygons need more oversampling.
    resolution = oversampled(size, 2) if draw in TEXTURES else oversampled(size, 3, least=128)
    return develop(draw(rng, resolution), size)
