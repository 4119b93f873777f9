"""Which time-steps are visited, and whether a noise schedule is one: told without torch."""

from __future__ import annotations

import math
from collections.abc import Iterator


def respaced(total: int, steps: int | None) -> list[int]:
    """`steps + 1` of `total` time-steps from the last down to 0, evenly spaced; None: all of them.

    Raises:
        ValueError: `steps` is not in 1..total.
    """
    steps = total if steps is None else steps
    if not 1 <= steps <= total:
        raise ValueError(f"sampling steps must be in 1..{total}, not {steps}")
    return [round(total * (steps - k) / steps) for k in range(steps + 1)]


def travel_times(
    total: int, steps: int, travel_length: int = 1, travel_repeat: int = 1
) -> list[int]:
    """The time-steps that DDNM visits, from `total - total / steps` (0-based) to -1 (clean).

    `steps` respaced steps; after every `travel_length` of them it travels as many back and repeats
    them, `travel_repeat` times in all (DDNM, Alg. 2; RePaint's schedule).

    Raises:
        ValueError: numbers that make no schedule.
    """
    if not 1 <= steps <= total or travel_length < 1 or travel_repeat < 1:
        raise ValueError(
            f"steps={steps} must be in 1..{total}, travel_length={travel_length} and "
            f"travel_repeat={travel_repeat} at least 1"
        )
    left = dict.fromkeys(range(0, steps - travel_length, travel_length), travel_repeat - 1)
    t, visited = steps, []
    while t >= 1:
        t -= 1
        visited.append(t)
        if left.get(t, 0) > 0:
            left[t] -= 1
            visited += range(t + 1, t + travel_length + 1)
            t += travel_length
    return [*(t * total // steps for t in visited), -1]


def check_schedule(kind: str, steps: int, start: float, end: float) -> None:
    """Refuse numbers that make no noise schedule: one that does not fall, or falls to nothing.

    Args:
        kind: `linear`, `scaled_linear` or `cosine`, see `cl_sr.diffusion.NoiseSchedule`.
        steps: T.
        start, end: the first and the last beta, where it is not `cosine`.

    Raises:
        ValueError: gamma does not decrease strictly, or does not stay above 0.
    """
    gamma = 1.0
    for alpha in _alphas(kind, steps, start, end):
        if not 0 < gamma * alpha < gamma:
            raise ValueError("gammas must start at 1 and decrease strictly, staying above 0")
        gamma *= alpha


def _alphas(kind: str, steps: int, start: float, end: float) -> Iterator[float]:
    if kind == "linear":
        for k in range(steps):
            yield 1 - (start + (end - start) * k / max(steps - 1, 1))
        return
    if kind == "scaled_linear":
        first, last = math.sqrt(start), math.sqrt(end)
        for k in range(steps):
            yield 1 - (first + (last - first) * k / max(steps - 1, 1)) ** 2
        return
    before = _cosine(0, steps)
    for t in range(1, steps + 1):
        now = _cosine(t, steps)
        yield max(now / before, 1e-3)
        before = now


def _cosine(t: int, steps: int) -> float:
    return math.cos((t / steps + 8e-3) / 1.008 * math.pi / 2) ** 2
