"""The forgetting matrix R[after][domain] and the figures that the field takes from it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean

BICUBIC, INIT = "bicubic", "init"
# The figures of a domain, by what tables call them: see `ForgettingMatrix.ends`.
GAIN, FORGETTING, FROM_BEST, OVER_BICUBIC = "gain", "forgetting", "from best", "vs bicubic"


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
        >>> matrix.forgetting("celeba")
        1.5
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

    def ends(self, figure: str, domain: str) -> tuple[str, str]:
        """The two rows that a figure of a domain is the improvement between.

        Every figure is defined here and nowhere else; empty names stand for rows that there are
        not.

        Args:
            figure: `GAIN`: from just after the first experience to just after learning it; of what
                is learnt first, from before training. (Not from just before learning it: what
                spoils a domain that is still to come would gain the more by learning it.)
                `FORGETTING`, the headline: from the final row to just after learning it: minus
                the backward transfer, BWT (Lopez-Paz and Ranzato, arXiv 1706.08840). `FROM_BEST`:
                from the final row to the best of all (Chaudhry et al., arXiv 1801.10112, who leave
                out the final one): never below 0. `OVER_BICUBIC`: from bicubic upsampling to the
                final row.
            domain: of the matrix.
        """
        learnt = learnt_in(self.learnt, domain)
        if figure == FORGETTING:
            return self.last, learnt
        if figure == FROM_BEST:
            known = [after for after in self.learnt if domain in self.rows[after]]
            best = max(known, key=lambda after: self.gain(domain, self.last, after), default="")
            return self.last, best
        if figure == OVER_BICUBIC:
            return BICUBIC, self.last
        if not learnt:
            return "", ""
        return (INIT if learnt == self.learnt[0] else self.learnt[0]), learnt

    def forgetting(self, domain: str) -> float:
        """Just after learning `domain` - final: minus its backward transfer."""
        return self.gain(domain, *self.ends(FORGETTING, domain))

    def forgetting_from_best(self, domain: str) -> float:
        """The best of all rows - final: more than `forgetting` where another time was the best."""
        return self.gain(domain, *self.ends(FROM_BEST, domain))

    def learning_gain(self, domain: str) -> float:
        """What learning `domain` gave, see `ends`."""
        return self.gain(domain, *self.ends(GAIN, domain))

    def over_bicubic(self, domain: str) -> float:
        """The final row against bicubic upsampling."""
        return self.gain(domain, *self.ends(OVER_BICUBIC, domain))

    def mean(self, figure: str) -> float:
        """A figure averaged over the *previous* domains; NaN where there is none."""
        values = [self.gain(domain, *self.ends(figure, domain)) for domain in self.previous]
        return fmean(values) if values else math.nan

    @property
    def last(self) -> str:
        """The final row; empty where nothing was learnt."""
        return self.learnt[-1] if self.learnt else ""


def learnt_in(rows: Iterable[str], domain: str) -> str:
    """The row just after `domain` was learnt; empty where it was not."""
    return next((after for after in rows if domain in after.split("+")), "")


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
