"""The faces of the portraits: a height field lit by one soft lamp, with painted features."""

from dataclasses import dataclass

import numpy as np

from cl_sr.data.standins.canvas import Field, bump, inside, mix, noise, rgb

SKIN = np.array([(0.98, 0.83, 0.75), (0.93, 0.73, 0.60), (0.74, 0.52, 0.40), (0.43, 0.28, 0.21)])
# Black and browns first: dark skin takes its hair from the first three.
HAIR = (
    (0.08, 0.07, 0.07),
    (0.15, 0.10, 0.08),
    (0.24, 0.15, 0.10),
    (0.36, 0.23, 0.14),
    (0.52, 0.36, 0.21),
    (0.78, 0.61, 0.38),
    (0.90, 0.78, 0.58),
    (0.50, 0.24, 0.12),
    (0.60, 0.58, 0.57),
)
IRIS = ((0.20, 0.12, 0.08), (0.30, 0.19, 0.11), (0.36, 0.46, 0.56), (0.34, 0.40, 0.28))


@dataclass(frozen=True)
class Person:
    """Everything about a face that more than one part of the drawing has to know."""

    feminine: bool
    skin: Field
    hair: Field
    width: float
    jaw: float
    yaw: float
    eye_spacing: float
    smile: float
    hair_end: float
    volume: float
    part: float
    lamp: tuple[float, float, float]


def person(rng: np.random.Generator) -> Person:
    """Chooses the traits of a face."""
    feminine = bool(rng.random() < 0.55)
    tone = 2.99 * float(rng.beta(0.8, 1.6))
    skin = SKIN[int(tone)] + (SKIN[int(tone) + 1] - SKIN[int(tone)]) * (tone % 1)
    colour = HAIR[rng.integers(len(HAIR) if tone < 1.2 else 3)]
    ends = (0.5, 0.85, 1.5, 1.5, 0.0) if feminine else (-0.15, -0.08, 0.0, 0.05, 0.1)
    side, height = rng.uniform(-0.7, 0.7), rng.uniform(0.1, 0.6)
    length = (side**2 + height**2 + 0.64) ** 0.5
    return Person(
        feminine=feminine,
        skin=rgb(skin),
        hair=rgb(colour) * rng.uniform(0.85, 1.15),
        width=rng.uniform(0.46, 0.51) if feminine else rng.uniform(0.49, 0.54),
        jaw=rng.uniform(1.9, 2.4) if feminine else rng.uniform(2.2, 3.2),
        yaw=rng.uniform(-0.08, 0.08),
        eye_spacing=rng.uniform(0.235, 0.265),
        smile=max(0.0, rng.uniform(-0.5, 1.0)),
        hair_end=ends[rng.integers(len(ends))],
        volume=rng.uniform(0.08, 0.26) if feminine else rng.uniform(0.02, 0.13),
        part=rng.uniform(-0.3, 0.3),
        lamp=(side / length, -height / length, 0.8 / length),
    )


def lit(height: Field, albedo: Field, lamp: tuple[float, float, float], gloss: float) -> Field:
    """Shades a height field of the given colour; its shadows turn warm, as those of skin do."""
    down, right = np.gradient(height, 2 / height.shape[0])
    norm = 1 / np.sqrt(down * down + right * right + 1)
    facing = np.clip((lamp[2] - lamp[0] * right - lamp[1] * down) * norm, 0, 1)
    shade = 0.40 + 0.68 * facing
    # A glossy surface mirrors the lamp where it faces half-way between lamp and viewer.
    half_z = ((1 + lamp[2]) / 2) ** 0.5
    half_x, half_y = lamp[0] / (2 * half_z), lamp[1] / (2 * half_z)
    glint = np.clip((half_z - half_x * right - half_y * down) * norm, 0, 1)
    glint = glint**16
    warmth = rgb([0.0, 0.22, 0.32])
    skin: Field = albedo * (shade * (1 - warmth + warmth * shade)) + gloss * glint
    return skin


def head(rng: np.random.Generator, who: Person, x: Field, y: Field) -> tuple[Field, Field]:
    """The bare head: its skin, (3, height, width), and the mask of where it is."""
    u, side = x - who.yaw, np.abs(x - who.yaw)
    reach = np.abs(y) * np.float32(1 / 0.79)
    below = np.maximum(y, 0)
    girth = who.width * (1 - (0.26 if who.feminine else 0.18) * below)
    q = ((x - 0.7 * who.yaw * below) / girth) ** 2 + np.where(y > 0, reach**who.jaw, reach * reach)
    relief = (
        0.50 * np.sqrt(np.maximum(1 - q, 0) + 0.03)
        + 0.045 * bump(u, y - 0.08, 0.07, 0.18)
        + 0.075 * bump(u, y - 0.25, 0.085, 0.08)
        + 0.025 * bump(side - 0.08, y - 0.27, 0.045, 0.04)
        - 0.060 * bump(side - who.eye_spacing, y + 0.01, 0.13, 0.075)
        + 0.020 * bump(side - 0.22, y + 0.13, 0.16, 0.06)
        + (0.03 + 0.03 * who.smile) * bump(side - 0.28, y - 0.22, 0.13, 0.12)
        + 0.025 * bump(u, y - 0.47, 0.20, 0.12)
        - 0.015 * bump(u, y - 0.60, 0.12, 0.04)
        + 0.030 * bump(u, y - 0.70, 0.14, 0.08)
        - 0.014 * (0.4 + who.smile) * bump(side - 0.12 - 0.5 * (y - 0.28), y - 0.37, 0.035, 0.1)
    )
    flush = bump(side - 0.3, y - 0.25, 0.15, 0.13) + bump(u, y - 0.27, 0.08, 0.06)
    albedo = who.skin * (1 - flush * rng.uniform(0.2, 1) * rgb([0, 0.12, 0.10]))
    albedo *= 1 + 0.03 * noise(rng, x.shape[0], (10, 10), 2)
    skin = lit(relief, albedo, who.lamp, gloss=rng.uniform(0.03, 0.14))
    skin *= 1 - 0.45 * bump(side - 0.045, y - 0.325, 0.03, 0.016)  # nostrils
    skin *= 1 - 0.20 * bump(u - 0.04 * who.lamp[0], y - 0.35, 0.09, 0.03)
    skin *= 1 - 0.22 * bump(side - who.eye_spacing, y + 0.02, 0.14, 0.07)
    # Outside its rim the relief is flat and bright: the mask keeps clear of that.
    return skin, inside((np.sqrt(q) - 0.97) * who.width, 0.02)


def eyes(rng: np.random.Generator, who: Person, image: Field, u: Field, v: Field) -> Field:
    """Both eyes with their lids and lashes, and the brows."""
    side = np.sign(u)
    e = np.abs(u) - who.eye_spacing
    v = v + rng.uniform(-0.04, 0.08) * e
    width, opening = 0.122, rng.uniform(0.040, 0.058)
    arc = 1 - (e / width) ** 2
    upper, lower = v + opening * arc, v - 0.75 * opening * arc

    image = image * (1 - 0.28 * bump(upper + 0.032, e, 0.018, 0.12))  # the crease of the lid
    shade = 1 - 0.5 * inside(upper - 0.012, 0.03) - 0.35 * (1 - arc)
    ball = rgb([0.80, 0.76, 0.74]) * np.maximum(shade, 0.2)
    radius = np.hypot(e - rng.uniform(-0.02, 0.02) * side, v + 0.008)
    rim = (0.45 + 0.75 * inside(radius - 0.044, 0.012)) * (1 + 7 * v)
    ball = mix(ball, rgb(IRIS[rng.integers(len(IRIS))]) * rim, inside(radius - 0.056, 0.007))
    ball = mix(ball, rgb([0.02, 0.02, 0.02]), inside(radius - 0.026, 0.008))
    lamp = u - side * who.eye_spacing - 0.03 * who.lamp[0]
    ball = mix(ball, rgb([1, 1, 1]), bump(lamp, v + 0.022, 0.013, 0.013))
    image = mix(image, ball, inside(np.maximum(-upper, lower), 0.010))
    thick = (0.016 if who.feminine else 0.010) * (1 + 3 * np.maximum(e, 0))
    lashes = inside(np.abs(upper) - thick, 0.010) * inside(np.abs(e) - width * 1.03, 0.02)
    image = mix(image, rgb([0.06, 0.04, 0.04]), lashes * 0.9)
    image = image * (1 - 0.3 * bump(lower, e, 0.012, 0.10))

    along = e / 0.16
    height = v + 0.15 + 0.03 * (1 - along * along) + rng.uniform(-0.015, 0.025)
    full = rng.uniform(0.010, 0.018) if who.feminine else rng.uniform(0.018, 0.028)
    brow = inside(np.abs(height) - full * np.clip(1 - 0.5 * along, 0.2, 1.4), 0.018)
    hairs = np.clip(0.85 + 0.35 * noise(rng, u.shape[0], (50, 30), 1), 0, 1)
    return mix(image, who.hair * 0.6, brow * inside(np.abs(along) - 1, 0.12) * hairs)


def glasses(rng: np.random.Generator, who: Person, image: Field, u: Field, v: Field) -> Field:
    """Spectacles with thin or thick frames."""
    e = np.abs(u) - who.eye_spacing
    lens = ((e / 0.19) ** 4 + ((v - 0.02) / rng.uniform(0.11, 0.16)) ** 4) ** 0.25 - 1
    rim = np.abs(lens) * 0.15 - rng.uniform(0.006, 0.018)
    bridge = np.maximum(np.abs(v + 0.04) - 0.012, np.abs(u) - 0.06)
    frame = rgb([0.07, 0.06, 0.06]) * rng.uniform(1, 4)
    image = image * (1 - 0.12 * inside(lens, 0.1))
    return mix(image, frame, inside(np.minimum(rim, bridge), 0.010))


def mouth(rng: np.random.Generator, who: Person, image: Field, u: Field, v: Field) -> Field:
    """Lips, and teeth in a broad smile."""
    width = 0.175 + 0.05 * who.smile
    across = u / width
    arc = np.maximum(1 - across * across, 0)
    line = v - 0.48 + who.smile * 0.05 * across * across
    broad = min(max(2.5 * who.smile - 0.8, 0.0), 1.0)
    gap = 0.03 * broad * arc
    full = rng.uniform(0.8, 1.3)
    upper = line + gap + full * 0.036 * arc * (1 - 0.25 * bump(u, u, 0.04, 9))
    lower = line - gap - full * 0.046 * arc
    red = rgb([0.95, 0.66, 0.66])
    if who.feminine:
        red = red * rgb([1, rng.uniform(0.5, 1), rng.uniform(0.6, 1)])
    lips = image * red + 0.08 * bump(u, lower + 0.02, 0.08, 0.014)
    ends = np.abs(u) - width
    image = mix(image, lips, inside(np.maximum(np.maximum(-upper, lower), ends), 0.014))
    image = image * (1 - 0.6 * bump(line, u, 0.011, width * 0.8) * inside(ends, 0.02))
    if broad > 0:
        tooth = 0.62 + 0.32 * arc - 0.08 * inside(np.abs(u * 22 % 1 - 0.5) - 0.08, 0.03)
        teeth = inside(np.maximum(-line - gap, line - gap * 0.9) + 0.004, 0.008)
        image = mix(image, rgb([0.97, 0.93, 0.88]) * tooth, teeth)
    return image


def beard(rng: np.random.Generator, who: Person, image: Field, u: Field, v: Field) -> Field:
    """Stubble or a beard around the mouth."""
    jaw = inside(0.56 - 0.9 * u * u - v, 0.12)
    moustache = bump(u, v - 0.395, 0.19, 0.04)
    lips = bump(u, v - 0.49, 0.17, 0.05)
    bristles = 0.8 + 0.4 * noise(rng, u.shape[0], (60, 30), 2)
    cover = np.clip((jaw + moustache - lips) * bristles, 0, 1)
    return mix(image, who.hair * 0.8, cover * rng.uniform(0.2, 0.8))
