"""Several draws of each image, with other noise: every value, and how far they spread."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

# By row and domain, then by metric: of each image the values of its draws.
Draws = dict[tuple[str, str], dict[str, list[tuple[float, ...]]]]


def spread(images: Sequence[Sequence[float]]) -> float:
    """The standard deviation of an image's draws (n - 1), the root of the images' mean variance.

    Args:
        images: of each the values of its draws, at least two.
    """
    return fmean(stdev(draws) ** 2 for draws in images) ** 0.5


def draws_to_csv(draws: Mapping[tuple[str, str], Mapping[str, Sequence[Sequence[float]]]]) -> str:
    """`after,domain,image,draw,METRIC,...`: one line a draw."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = list(next(iter(draws.values()), {}))
    writer.writerow(["after", "domain", "image", "draw", *names])
    for (after, domain), values in draws.items():
        for image, metrics in enumerate(zip(*(values[name] for name in names), strict=True)):
            for draw, row in enumerate(zip(*metrics, strict=True)):
                writer.writerow([after, domain, image, draw, *map(repr, row)])
    return out.getvalue()


def draws_from_csv(text: str) -> Draws:
    """The inverse of `draws_to_csv`.

    Raises:
        KeyError, ValueError: it is damaged.
    """
    found: Draws = {}
    for line in csv.DictReader(io.StringIO(text)):
        place, image = (line.pop("after"), line.pop("domain")), int(line.pop("image"))
        del line["draw"]
        for name, value in line.items():
            images = found.setdefault(place, {}).setdefault(name, [])
            if image == len(images):
                images.append(())
            images[image] += (float(value),)
    return found
