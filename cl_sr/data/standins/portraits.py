"""Stand-ins for face photographs: backdrop, shoulders, head and hair."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from cl_sr.data.standins.canvas import (
    Field,
    Pixels,
    bump,
    develop,
    grid,
    inside,
    mix,
    noise,
    oversampled,
    painted,
    rgb,
)
from cl_sr.data.standins.faces import Person, beard, eyes, glasses, head, mouth, person

CLOTH = (
    (0.08, 0.08, 0.10),
    (0.12, 0.14, 0.22),
    (0.55, 0.12, 0.14),
    (0.88, 0.87, 0.85),
    (0.30, 0.40, 0.52),
    (0.30, 0.38, 0.30),
    (0.46, 0.45, 0.46),
    (0.66, 0.40, 0.50),
)


def backdrop(rng: np.random.Generator, resolution: int) -> Field:
    """An out-of-focus wall with a few large shapes, (3, resolution, resolution)."""
    extent = 64
    base = np.clip(rng.choice([0.1, 0.3, 0.5, 0.85]) + rng.normal(0, 0.06, 3), 0, 1)
    picture = Image.new("RGB", (extent, extent), tuple((base * 255).astype(int).tolist()))
    pen = ImageDraw.Draw(picture)
    for _ in range(rng.integers(0, 10)):
        centre, reach = rng.uniform(0, extent, 2), rng.uniform(2, 24, 2)
        colour = np.clip(base + rng.normal(0, 0.20) + rng.normal(0, 0.06, 3), 0, 1) * 255
        shape = pen.ellipse if rng.random() < 0.3 else pen.rectangle
        shape([*(centre - reach), *(centre + reach)], fill=tuple(colour.astype(int).tolist()))
    picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 2)))
    picture = picture.resize((resolution, resolution), Image.Resampling.BICUBIC)
    return painted(picture) + 0.06 * noise(rng, resolution, (2, 2), 3)


def body(rng: np.random.Generator, who: Person, image: Field, x: Field, y: Field) -> Field:
    """Ears, neck, shoulders and clothes."""
    side = np.abs(x)
    ear = np.hypot((side - who.width - 0.01) / 0.07, (y - 0.08) / 0.15)
    image = mix(image, who.skin * (0.45 + 0.35 * ear), inside(ear - 1, 0.15))
    girth = 0.26 if who.feminine else 0.34
    round_ = np.sqrt(np.clip(1 - (x / (girth + 0.05)) ** 2, 0.02, 1))
    chin_shadow = 1 - 0.5 * inside(y - 0.92 + 0.4 * x * x, 0.14)
    skin = who.skin * ((0.5 + 0.45 * round_ + 0.2 * who.lamp[0] * x) * chin_shadow)
    slope = 0.84 + 0.30 * np.maximum(side - girth, 0) - y
    torso = np.minimum(np.maximum(side - girth, 0.5 - y), slope)
    image = mix(image, skin * rgb([1, 0.96, 0.94]), inside(torso))
    cloth = rgb(CLOTH[rng.integers(len(CLOTH))]) * (1 + 0.3 * noise(rng, x.shape[0], (5, 3), 3))
    depth, steep = rng.uniform(0.02, 0.3), rng.uniform(0.6, 2.5)
    neckline = 0.84 + depth - steep * np.maximum(side - girth * 0.8 + depth / steep, 0) - y
    covered = inside(np.maximum(slope, neckline), 0.012)
    image = mix(image, cloth, covered)
    if rng.random() < 0.4:  # a shirt's collar
        collar = np.abs(side - girth * 0.85 + (y - 0.92) * 0.8) - 0.06
        shade = 0.85 - 0.25 * side
        image = mix(image, rgb([1, 1, 1]) * shade, inside(collar, 0.012) * inside(slope))
    return image


def hair(rng: np.random.Generator, who: Person, x: Field, y: Field) -> tuple[Field, Field, Field]:
    """Strands that fan out from the parting and fall along the head.

    Returns:
        The colour, (3, height, width), and how much of it lies behind and before the head.
    """
    top = 0.80 + 0.6 * who.volume
    reach = who.width + who.volume
    crown = np.sqrt(np.maximum(1 - (np.minimum(y, 0) / top) ** 2, 0.0))
    span = (crown + 0.12 * np.maximum(y, 0)) * reach
    wave = rng.choice([0.0, 0.02, 0.06]).item() * np.sin(y * rng.uniform(7, 13) + 6 * x)
    across = (x - who.part * np.clip(-1.5 * y, 0, 1)) / (span + 0.15) + wave
    # Looking the strands up in a table that is fine across and coarse along makes them streaks.
    table = noise(rng, 192, (20, 3), 4, gain=0.75)
    column = np.clip((across * 0.4 + 0.5) * 192, 0, 191).astype(np.intp)
    row = np.clip((y * 0.45 + 0.5) * 192, 0, 191).astype(np.intp)
    strand = table[row, column]

    outline = np.hypot(x / reach, np.minimum(y, 0) / top) - 1
    outline = np.where(y < 0, outline * reach, np.abs(x) - span)
    outer = np.maximum(outline + 0.03 * strand, y - who.hair_end - 0.12 * strand)
    fringed = rng.random() < (0.3 if who.feminine else 0.12)
    hairline = rng.uniform(-0.3, -0.2) if fringed else rng.uniform(-0.62, -0.48)
    sweep = 0.0 if fringed else rng.uniform(-0.2, 0.5)
    frame = who.width * (0.90 if who.hair_end > 0.2 else 0.97)
    rise = np.maximum(0.15 - y, 0) / (0.15 - hairline) + sweep * np.abs(x - who.part)
    face = ((np.abs(x) / frame) ** 4 + rise**4) ** 0.25 - 1
    # Nothing but hair lies between the skull's rim and the hair's outline.
    skull = np.where(y < 0, np.hypot(x / who.width, y / 0.79) - 0.95, -1)
    before = np.maximum(outer, -0.5 * np.maximum(face, skull) - 0.04 * strand)

    sheen = bump(y + 0.55 - 0.25 * x * x, x - 0.3 * who.lamp[0], 0.12, 0.5) * (0.6 + 0.8 * strand)
    round_ = 1.0 - 0.4 * (x / reach) ** 2 + 0.35 * who.lamp[0] * x
    colour = who.hair * np.clip((0.9 + 0.5 * strand) * round_, 0.15, 1.6)
    colour = colour + (who.hair * 0.45 + 0.05) * sheen
    behind = inside(outer, 0.02) * (who.hair_end > 0.2)
    return colour, behind, inside(before, 0.025)


def portrait(rng: np.random.Generator, size: int) -> Pixels:
    """Draws a face photograph, framed like an aligned CelebA crop.

    Args:
        rng: Chooses the picture.
        size: Height and width in pixels.

    Returns:
        RGB, uint8 in [0, 255], of shape (size, size, 3).
    """
    resolution = oversampled(size, 2)
    who = person(rng)
    image = backdrop(rng, resolution)
    x, y = grid(resolution)
    tilt, scale = rng.normal(0, 0.05), rng.uniform(0.92, 1.06)
    x, y = x - rng.normal(0, 0.03), y - rng.normal(0.02, 0.03)
    x, y = (x + tilt * y) / scale, (y - tilt * x) / scale
    u = x - who.yaw

    strands, behind, before = hair(rng, who, x, y)
    image = mix(image, strands * 0.6, behind)
    image = body(rng, who, image, x, y)
    face, mask = head(rng, who, x, y)
    if not who.feminine and rng.random() < 0.45:
        face = beard(rng, who, face, u, y)
    # The features all lie in the middle; working on that part saves time.
    centre = slice(resolution // 8, resolution * 7 // 8)
    part, u, v = face[:, centre, centre], u[centre, centre], y[centre, centre]
    part = mouth(rng, who, part, u, v)
    part = eyes(rng, who, part, u, v)
    if rng.random() < 0.12:
        part = glasses(rng, who, part, u, v)
    face[:, centre, centre] = part
    image = mix(image, face, mask)
    image = mix(image, strands, before)
    exposure = rgb(1 + rng.normal(0, 0.03, 3)) * rng.uniform(0.85, 1.08)
    return develop(image * exposure, size)
