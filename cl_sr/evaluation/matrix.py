"""The forgetting matrix R[after][domain] and the figures that the field takes from it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean

BICUBIC, INIT = "bicubic", "init"


@dataclass
class ForgettingMatrix:
    """One metric on every domain, after every experience.

    Differences are oriented by the metric's direction: a positive one is always an improvement,
    for PSNR as for LPIPS.

    Attributes:
        metric: its name.
        higher_is_better: its direction.
        rows: `rows[after][domain]`; `after` is `bicubic`, `init` (before any training), or what
            was just learnt: a domain, or several joined by `+` where they are learnt at once.

    Example:
        >>> matrix = ForgettingMatrix("psnr")
        >>> matrix.record("celeba", "celeba", 23.0)
        >>> matrix.record("animef", "celeba", 21.5)
        >>> matrix.backward_transfer("celeba")
        -1.5
    """

    metric: str
    higher_is_better: bool = True
    rows: dict[str, dict[str, float]] = field(default_factory=dict)

    def record(self, after: str, domain: str, value: float) -> None:
        """Set R[after][domain]. Rows are kept in the order of their first recording."""
        self.rows.setdefault(after, {})[domain] = value

    @property
    def learnt(self) -> list[str]:
        """The experiences so far, in order."""
        return [after for after in self.rows if after not in {BICUBIC, INIT}]

    @property
    def domains(self) -> list[str]:
        """Every domain that was evaluated, in order."""
        return list(dict.fromkeys(domain for row in self.rows.values() for domain in row))

    @property
    def previous(self) -> list[str]:
        """The domains learnt before the last experience: the ones that can be forgotten."""
        last = set(self.learnt[-1].split("+")) if self.learnt else set()
        past = [domain for after in self.learnt[:-1] for domain in after.split("+")]
        return [domain for domain in dict.fromkeys(past) if domain not in last]

    def gain(self, domain: str, before: str, after: str) -> float:
        """The improvement of `domain` from row `before` to row `after`; NaN where one is absent."""
        try:
            change = self.rows[after][domain] - self.rows[before][domain]
        except KeyError:
            return math.nan
        return change if self.higher_is_better else -change

    def backward_transfer(self, domain: str) -> float:
        """BWT (Lopez-Paz and Ranzato, arXiv 1706.08840): final - just after it was learnt."""
        return self.gain(domain, self.when(domain), self.last)

    def forgetting(self, domain: str) -> float:
        """Chaudhry et al. (arXiv 1801.10112): the best of all earlier rows - final."""
        return self.gain(domain, self.last, self.best(domain))

    def learning_gain(self, domain: str) -> float:
        """What learning `domain` gave: just after - just before it."""
        return self.gain(domain, self.before(domain), self.when(domain))

    def over_bicubic(self, domain: str) -> float:
        """The final row against bicubic upsampling."""
        return self.gain(domain, BICUBIC, self.last)

    @property
    def mean_backward_transfer(self) -> float:
        """BWT averaged over the *previous* domains; NaN where there is none."""
        return _mean(self.backward_transfer(domain) for domain in self.previous)

    @property
    def mean_forgetting(self) -> float:
        """Forgetting averaged over the *previous* domains; NaN where there is none."""
        return _mean(self.forgetting(domain) for domain in self.previous)

    def best(self, domain: str) -> str:
        """The row before the final one in which `domain` was best; empty where there is none."""
        known = [after for after in self.learnt[:-1] if domain in self.rows[after]]
        return max(known, key=lambda after: self.gain(domain, self.last, after), default="")

    def before(self, domain: str) -> str:
        """The row just before `domain` was learnt; empty where it was not."""
        when, order = self.when(domain), [INIT, *self.learnt]
        return order[order.index(when) - 1] if when in order[1:] else ""

    @property
    def last(self) -> str:
        """The final row; empty where nothing was learnt."""
        return self.learnt[-1] if self.learnt else ""

    def when(self, domain: str) -> str:
        """The row just after `domain` was learnt; empty where it was not."""
        return next((after for after in self.learnt if domain in after.split("+")), "")


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return fmean(values) if values else math.nan


def to_csv(matrices: Iterable[ForgettingMatrix]) -> str:
    """`metric,after,domain,value`, one line a value."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["metric", "after", "domain", "value"])
    for matrix in matrices:
        for after, row in matrix.rows.items():
            for domain, value in row.items():
                writer.writerow([matrix.metric, after, domain, repr(value)])
    return out.getvalue()


def from_csv(text: str, directions: Mapping[str, bool]) -> list[ForgettingMatrix]:
    """The inverse of `to_csv`; `directions` tells by metric whether higher is better."""
    matrices: dict[str, ForgettingMatrix] = {}
    for line in csv.DictReader(io.StringIO(text)):
        name = line["metric"]
        matrix = matrices.setdefault(name, ForgettingMatrix(name, directions.get(name, True)))
        matrix.record(line["after"], line["domain"], float(line["value"]))
    return list(matrices.values())
