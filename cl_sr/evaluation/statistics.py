"""Estimates with 95 % confidence intervals: percentiles of a bootstrap over the test images.

A resampling takes the same images for all that is compared, so that what is hard for all cancels
out. Seeds are averaged before: the intervals do not tell how training differs between them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean
from typing import Any

import numpy as np

from cl_sr.evaluation.matrix import ForgettingMatrix

RESAMPLINGS = 2000

Array = np.ndarray[Any, np.dtype[np.float64]]
Images = Mapping[str, Array]  # by domain, a value an image
# Every image's metrics, by row and domain, then by metric.
Measured = Mapping[tuple[str, str], Mapping[str, Sequence[float]]]


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % confidence interval; NaN where it is not defined."""

    value: float
    low: float = math.nan
    high: float = math.nan

    def text(self, digits: int, sign: bool = False, unit: str = "") -> str:
        """`+0.19 ± 0.02`: half of the interval's width after the value.

        Where one side is half as wide again as the other: `183 [111, 861]`.
        """
        if math.isnan(self.value):
            return "-"
        plus = "+" if sign else ""

        def shown(value: float) -> str:
            return f"{round(value, digits) + 0.0:{plus}.{digits}f}"  # no -0.00

        below, above = self.value - self.low, self.high - self.value
        if math.isnan(self.low):
            interval = ""
        elif max(below, above) > 1.5 * min(below, above) + 10**-digits:
            interval = f" [{shown(self.low)}, {shown(self.high)}]"
        else:
            interval = f" ± {(self.high - self.low) / 2:.{digits}f}"
        return shown(self.value) + interval + unit

    def percent(self) -> str:
        return Estimate(100 * self.value, 100 * self.low, 100 * self.high).text(0, unit=" %")


def mean(images: Images, sign: int = 1) -> Estimate:
    """The mean of the domains' means; with `sign` -1 of a metric of which less is better."""
    return _estimate(sign * _mean(images), sign * _resampled(images), _fewest(images))


def ratio(images: Images, whole: Images, sign: int = 1) -> Estimate:
    """The ratio of two means over the same images; not defined where the whole may be none."""
    wholes = sign * _resampled(whole)
    if np.percentile(wholes, 2.5) <= 0:
        return Estimate(math.nan)
    return _estimate(
        _mean(images) / _mean(whole), sign * _resampled(images) / wholes, _fewest(images)
    )


def difference(
    matrix: ForgettingMatrix, images: Measured, rows: Mapping[str, tuple[str, str]]
) -> Estimate:
    """The mean improvement of domains between two rows each; paired where images are known.

    Args:
        matrix: of one metric.
        images: every image's metrics.
        rows: by domain, the rows before and after (`ForgettingMatrix.ends`).
    """
    pairs = {}
    for domain, (before, after) in rows.items():
        one, two = (images.get((row, domain), {}).get(matrix.metric) for row in (before, after))
        if not one or not two or len(one) != len(two):
            return Estimate(fmean(matrix.gain(d, *ends) for d, ends in rows.items()))
        pairs[domain] = np.asarray(two) - np.asarray(one)
    return mean(pairs, 1 if matrix.higher_is_better else -1)


def _mean(images: Images) -> float:
    return float(np.mean([values.mean() for values in images.values()]))


def _resampled(images: Images) -> Array:
    """The mean of the domains' means, of each resampling."""
    means = [
        values[_draws(number, len(values))].mean(1) for number, values in enumerate(images.values())
    ]
    return np.asarray(np.mean(means, axis=0))


@lru_cache(maxsize=64)
def _draws(number: int, count: int) -> np.ndarray:
    """Which of `count` images each resampling takes; other ones for each domain of a mean."""
    return np.random.default_rng([number, count]).integers(0, count, (RESAMPLINGS, count))


def _fewest(images: Images) -> int:
    return min(len(values) for values in images.values())


def _estimate(value: float, resampled: Array, images: int) -> Estimate:
    if math.isnan(value) or images < 2:  # one image tells nothing of others
        return Estimate(value)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Estimate(value, float(low), float(high))
