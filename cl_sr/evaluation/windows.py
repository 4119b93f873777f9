"""The denoising error by time-step window: at which noise a model forgets.

Forgetting differs over the time-steps (arXiv 2303.15342), and the sampled images tell only their
sum. The windows are those of Saini et al., Table 1a, as shares of T.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from cl_sr.diffusion import NoiseSchedule

SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class WindowError:
    """The mean squared error of the noise, of a domain's images, at time-steps start+1..stop."""

    after: str
    domain: str
    start: int
    stop: int
    error: float


def windows(steps: int) -> list[tuple[int, int]]:
    """Of a schedule of `steps` time-steps; fewer where those are too few for five."""
    edges = sorted({round(share * steps) for share in SHARES})
    return list(pairwise(edges))


def denoising_errors(
    denoise: Callable[[Tensor, Tensor | None, Tensor], Tensor],
    diffused: Tensor,
    schedule: NoiseSchedule,
    window: tuple[int, int],
    seed: int,
) -> Tensor:
    """The squared error of the noise that a denoiser finds, `(B,)`, each at one t of the window.

    Args:
        denoise: `(noisy, None, level)` to the noise.
        diffused: what is diffused, `(B, C, H, W)`; the noise has its shape.
        schedule: what the denoiser was trained with.
        window: t in `{start + 1, ..., stop}`.
        seed: of t and the noise; the same numbers for every model.
    """
    import torch  # the tables of results are read without it

    from cl_sr.diffusion import q_sample

    generator = torch.Generator().manual_seed(seed)
    t = torch.randint(window[0] + 1, window[1] + 1, (len(diffused),), generator=generator)
    level = schedule.gammas[t].sqrt().float().to(diffused.device)
    noise = torch.randn(diffused.shape, generator=generator).to(diffused.device)
    found = denoise(q_sample(diffused, level, noise), None, level)
    return (found - noise).square().mean(dim=(1, 2, 3)).double()


def growth(now: float | None, then: float | None) -> float:
    """How much larger an error got, in dB; NaN where one of the two is not known."""
    return 10 * math.log10(now / then) if now and then else math.nan


def errors_to_csv(errors: Iterable[WindowError]) -> str:
    """`after,domain,start,stop,error`, one line a value."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([field.name for field in fields(WindowError)])
    writer.writerows(astuple(error) for error in errors)
    return out.getvalue()


def errors_from_csv(text: str) -> Iterator[WindowError]:
    """The inverse of `errors_to_csv`."""
    for line in csv.DictReader(io.StringIO(text)):
        place = line["after"], line["domain"], int(line["start"]), int(line["stop"])
        yield WindowError(*place, float(line["error"]))
