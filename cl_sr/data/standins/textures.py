"""Close-ups of materials: bricks, planks, cloth, marble, cobbles, fur."""

import numpy as np

from cl_sr.data.standins.canvas import Field, bump, grid, inside, mix, noise, rgb


def viewed(rng: np.random.Generator, resolution: int, tilt: float) -> tuple[Field, Field]:
    """The coordinates of a flat surface seen by a camera that is turned and a little oblique."""
    x, y = grid(resolution)
    angle, zoom = rng.normal(0, tilt), rng.uniform(0.7, 1.2)
    depth = zoom / (1 + rng.uniform(-0.3, 0.3) * x + rng.uniform(-0.3, 0.3) * y)
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    return depth * (cos * x - sin * y), depth * (sin * x + cos * y)


def relief(height: Field, strength: float) -> Field:
    """The brightness of a bumpy surface that is lit from the upper left."""
    slope = np.zeros_like(height)
    slope[1:, 1:] = (height[1:, 1:] - height[:-1, :-1]) * (strength * height.shape[0] / 128)
    return np.clip(1 + slope, 0.3, 1.7)


def light(rng: np.random.Generator, x: Field, y: Field) -> Field:
    """Light that falls off across the picture."""
    return 0.95 + rng.uniform(-0.25, 0.25) * x + rng.uniform(-0.25, 0.25) * y


def pick(rng: np.random.Generator, spread: float, column: Field, row: Field) -> Field:
    """A random brightness for each cell of a lattice."""
    table = rng.normal(1, spread, (64, 64)).astype(np.float32)
    return table[row.astype(np.intp) % 64, column.astype(np.intp) % 64]


def bricks(rng: np.random.Generator, resolution: int) -> Field:
    """A brick wall."""
    x, y = viewed(rng, resolution, 0.12)
    rows, long = rng.uniform(3.0, 5.5), rng.uniform(1.8, 2.6)
    rough = noise(rng, resolution, (24, 24), 2)
    v = y * rows + 0.06 * rough
    row = np.floor(v)
    u = x * rows / long + row * 0.5 + 0.03 * rough
    column = np.floor(u)
    ends, sides = np.minimum(u - column, column + 1 - u), np.minimum(v - row, row + 1 - v)
    edge = np.minimum(ends * long, sides)
    clay = ((0.62, 0.28, 0.20), (0.50, 0.24, 0.18), (0.72, 0.50, 0.36), (0.75, 0.72, 0.66))
    stone = rgb(clay[rng.integers(len(clay))]) * pick(rng, 0.16, column, row) * (1 + 0.22 * rough)
    mortar = rgb([0.72, 0.68, 0.62]) * rng.uniform(0.5, 1.1) * (1 + 0.1 * rough)
    body = inside(0.09 - edge, 0.04)
    return mix(mortar, stone, body) * relief(body + 0.3 * rough, 0.9) * light(rng, x, y)


def planks(rng: np.random.Generator, resolution: int) -> Field:
    """Boards with the grain of wood and an occasional knot."""
    x, y = viewed(rng, resolution, 0.12)
    if rng.random() < 0.4:
        x, y = y, x
    gap = x * rng.uniform(0.8, 2.6) + 0.3
    board = np.floor(gap)
    u = x + 0.37 * board
    v = y + pick(rng, 3.0, board, board)
    knot = bump(u - rng.uniform(-0.8, 0.8), y - rng.uniform(-0.8, 0.8), 0.16, 0.28)
    grain = noise(rng, resolution, (5, 2), 2)
    rings = np.sin(u * rng.uniform(12, 22) + 3 * np.sin(v * 0.9) + 3.5 * grain + 9 * knot)
    fibre = noise(rng, resolution, (90, 8), 2)
    tint = ((0.66, 0.46, 0.28), (0.48, 0.30, 0.18), (0.78, 0.62, 0.42), (0.50, 0.46, 0.42))
    wood = rgb(tint[rng.integers(len(tint))]) * pick(rng, 0.12, board, board)
    tone = 0.95 + 0.20 * rings + 0.22 * fibre - 0.35 * knot
    crack = inside(np.minimum(gap - board, board + 1 - gap) - 0.02, 0.015)
    return mix(wood * tone, wood * 0.15, crack) * light(rng, x, y)


def cloth(rng: np.random.Generator, resolution: int) -> Field:
    """A woven fabric with a plaid pattern and folds."""
    x, y = viewed(rng, resolution, 0.6)
    fold = noise(rng, resolution, (3, 2), 2)
    threads = rng.uniform(4.5, 9)
    u, v = (x + 0.08 * fold) * threads, (y + 0.08 * fold) * threads
    i, j = np.floor(u), np.floor(v)
    across, along = np.sin((u - i) * np.pi), np.sin((v - j) * np.pi)
    over = (i + j) % 2 == 0
    base, second = (np.clip(rng.uniform(0.1, 0.8) + rng.normal(0, 0.12, 3), 0, 1) for _ in "ab")
    stripes = rng.random(int(rng.integers(5, 11))) < 0.4
    warp = stripes[i.astype(np.intp) % len(stripes)]
    weft = stripes[j.astype(np.intp) % len(stripes)]
    yarn = mix(rgb(base), rgb(second), np.where(over, warp, weft).astype(np.float32))
    round_ = np.where(over, across, along) * (0.75 + 0.25 * np.where(over, along, across))
    return yarn * (0.35 + 0.75 * round_) * (1 + 0.45 * fold)


def marble(rng: np.random.Generator, resolution: int) -> Field:
    """Veined stone."""
    x, y = viewed(rng, resolution, 1.5)
    cloud = noise(rng, resolution, (2, 2), 5, gain=0.55)
    vein = np.abs(np.sin(x * rng.uniform(3, 6) + 5 * cloud))
    fine = np.abs(noise(rng, resolution, (4, 4), 3, gain=0.5))
    slabs = ((0.86, 0.84, 0.82), (0.30, 0.38, 0.34), (0.68, 0.50, 0.40), (0.22, 0.22, 0.26))
    kind = int(rng.integers(len(slabs)))
    stone = rgb(slabs[kind]) * (1 + 0.45 * cloud)
    streak = rgb([0.36, 0.34, 0.36] if kind in (0, 2) else [0.88, 0.86, 0.80])
    stone = mix(stone, streak, 0.7 * bump(vein, vein, 0.22, 0.22))
    return mix(stone, streak, 0.8 * inside(fine - 0.025, 0.03)) * light(rng, x, y)


def cobbles(rng: np.random.Generator, resolution: int) -> Field:
    """Pebbles or paving: the cells nearest to jittered points."""
    x, y = grid(resolution)
    nearest, second = np.full_like(x, 9), np.full_like(x, 9)
    owner = np.zeros_like(x)
    side = int(rng.integers(4, 7))
    lattice = (np.arange(side) + 0.5) * (2.2 / side) - 1.1
    for k, (px, py) in enumerate((a, b) for a in lattice.tolist() for b in lattice.tolist()):
        px, py = px + rng.uniform(-0.9, 0.9) / side, py + rng.uniform(-0.9, 0.9) / side
        far = (x - px) ** 2 + (y - py) ** 2
        owner = np.where(far < nearest, np.float32(k), owner)
        second = np.minimum(second, np.maximum(far, nearest))
        nearest = np.minimum(nearest, far)
    edge = (np.sqrt(second) - np.sqrt(nearest)) * side
    rough = noise(rng, resolution, (16, 16), 3)
    tint = rgb(rng.uniform(0.45, 0.62) + np.array([0.05, 0.0, -0.05]) * rng.normal(0.3, 0.6))
    stone = tint * pick(rng, 0.25, owner, owner) * (1 + 0.18 * rough)
    body = inside(0.22 - edge + 0.1 * rough, 0.16)
    dome = np.sqrt(np.clip(edge, 0, 1.5))
    return mix(tint * 0.3, stone, body) * relief(dome + 0.15 * rough, 0.9)


def fur(rng: np.random.Generator, resolution: int) -> Field:
    """An animal's coat: plain, spotted or striped."""
    x, y = viewed(rng, resolution, 3.0)
    flow = noise(rng, resolution, (2, 2), 2)
    table = noise(rng, 256, (24, 4), 3, gain=0.8)
    column = ((x + 0.35 * flow) * 95 + 637).astype(np.intp)
    row = ((y + 0.2 * flow) * 80 + 637).astype(np.intp)
    strand = table[np.abs(row % 510 - 255), np.abs(column % 510 - 255)]  # mirrored: no seams
    coats = ((0.78, 0.56, 0.32), (0.85, 0.79, 0.70), (0.50, 0.34, 0.20), (0.60, 0.55, 0.50))
    coat = rgb(coats[rng.integers(len(coats))])
    kind = rng.random()
    if kind < 0.4:
        spots = np.abs(noise(rng, resolution, (7, 7), 1) + 0.1 * strand)
        coat = mix(coat, coat * 0.22, inside(0.42 - spots, 0.08))
    elif kind < 0.75:
        bands = np.sin(y * rng.uniform(8, 14) + 5 * flow + 0.5 * strand)
        coat = mix(coat, coat * 0.18, inside(0.25 - bands, 0.25))
    return np.asarray(coat * (0.9 + 0.55 * strand) * (1 + 0.35 * flow))
