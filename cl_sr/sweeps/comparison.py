"""Several runs side by side: what each forgot, learnt and took, against plain fine-tuning.

Rows are told apart by their strategy, or by whatever a sweep varies; seeds are averaged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from cl_sr.errors import InputError
from cl_sr.evaluation.matrix import BICUBIC, INIT
from cl_sr.evaluation.statistics import Array, Estimate, mean, ratio
from cl_sr.evaluation.windows import growth
from cl_sr.sweeps.alike import as_text, check_alike
from cl_sr.sweeps.finished import Finished, RunSet

BASELINE = {"strategy": "finetune"}
# What a row tells of each metric. `source` and `target`: the final value on the domains before the
# last one, on the last one. `over`: the final value on the last domain over bicubic upsampling's.
# `forgetting` and `gain`: means of the domains before the last one, and after the first one; as
# defined by `ForgettingMatrix.ends`. `share`: the gain as a share of the baseline's. `against`: the
# final value on the earlier domains over the baseline's.
FIGURES = ("source", "target", "over", "forgetting", "gain", "share", "against")

ABSENT = as_text(None)  # of an option: the strategy is not there
Images = dict[str, Array]  # by domain, a value an image
Place = tuple[str, ...]  # the values that tell a row apart, as text


@dataclass(frozen=True)
class Row:
    """Runs that differ in their seeds alone: everything that the tables say of them.

    Attributes:
        label: what it is called: its strategy, and what else differs between rows.
        baseline: whether others are compared with it.
        seeds: of its runs.
        figures: by name (`FIGURES`) and metric.
        time: seconds of the later experiences over the baseline's.
        parameters: extra ones at inference.
        kept: bytes from the past while the last domain is learnt.
        windows: by window, how much larger the error of the earlier domains got, in dB.
        curves: by metric and domain, pairs of the iteration of the last experience and the mean.
    """

    label: str
    baseline: bool
    seeds: tuple[int, ...]
    figures: Mapping[str, Mapping[str, Estimate]]
    time: float
    parameters: float
    kept: float
    windows: dict[tuple[int, int], float]
    curves: dict[str, dict[str, list[tuple[int, float]]]]

    def psnr(self, figure: str) -> Estimate:
        """A figure of the metric that headlines and plots are about."""
        return self.figures[figure]["psnr"]


class Comparison:
    """Runs of one stream in rows; the rows that others are compared with come first.

    Args:
        runs: finished ones.
        by: the configuration keys that tell rows apart, beside the seed.
        baseline: by key, the values of the row that a row's shares are of; its other values are the
            row's own.

    Attributes:
        runs, by: as above.
        first: the first run.
        domains: of the stream.
        groups: the runs of each row, by seed.
        rows: what is told of them.

    Raises:
        InputError: the runs do not compare.
    """

    def __init__(
        self,
        runs: Sequence[Finished],
        by: Sequence[str] = ("strategy",),
        baseline: Mapping[str, Any] | None = None,
    ) -> None:
        self.runs = runs
        self.first = runs[0]
        self.by = [key for key in by if key not in ("seed", "stream")] or ["strategy"]
        check_alike(runs, by)
        self.domains = self.first.domains
        wanted = {key: as_text(value) for key, value in (baseline or BASELINE).items()}
        wanted = {key: value for key, value in wanted.items() if key in self.by}
        self.groups: dict[Place, dict[int, Finished]] = {}
        for run in runs:
            place = tuple(as_text(run.value(key)) for key in self.by)
            group = self.groups.setdefault(place, {})
            if run.seed in group:
                raise InputError(
                    f"{group[run.seed].path} and {run.path} are both "
                    f"{', '.join(place)} with seed {run.seed}: name one of them"
                )
            group[run.seed] = run
        if not wanted:  # the first one
            wanted = dict(zip(self.by, next(iter(self.groups)), strict=True))
        self._baseline = {place: self._baseline_of(place, wanted) for place in self.groups}
        order = sorted(self.groups, key=lambda place: self._baseline[place] != place)
        self.rows = [self._row(place) for place in order]

    def _baseline_of(self, place: Place, wanted: dict[str, str]) -> Place:
        """The row that a row's shares are of: with its own values where none is wanted."""
        own = dict(zip(self.by, place, strict=True))
        found = tuple((own | wanted).values())
        if found not in self.groups:  # the baseline may be without an option that others vary
            own |= {key: ABSENT for key in self.by if _is_option(key)}
            found = tuple((own | wanted).values())
        return found

    def label(self, place: Place) -> str:
        """What a row is called: the strategy, and what else differs between rows."""
        parts = []
        for k, (key, value) in enumerate(zip(self.by, place, strict=True)):
            if _is_option(key) and value == ABSENT:
                continue
            differs = len({other[k] for other in self.groups}) > 1
            if key == "strategy" and (differs or len(self.by) == 1):
                parts.append(value)
            elif differs:
                parts.append(f"{self.short(key)} {value}")
        return ", ".join(parts) or ", ".join(place)

    def short(self, key: str) -> str:
        """The last part of a key, where it is enough to tell it from the others."""
        last = key.rsplit(".", 1)[-1]
        alike = [other for other in self.by if other.rsplit(".", 1)[-1] == last]
        return key if len(alike) > 1 else last

    def _paired(self, place: Place) -> dict[int, tuple[Finished, Finished]]:
        """By seed, a row's run and the baseline's, where both are there, of the same images."""
        theirs = self.groups.get(self._baseline[place], {})
        last = self.domains[-1]
        return {
            seed: (run, theirs[seed])
            for seed, run in sorted(self.groups[place].items())
            if seed in theirs
            and self._same_images(theirs[seed], run, (BICUBIC, last))
            and theirs[seed].tested == run.tested
        }

    @property
    def has_baseline(self) -> bool:
        return any(self.groups.get(place) for place in self._baseline.values())

    @property
    def metrics(self) -> list[str]:
        """Those that all runs have."""
        return [m for m in self.first.directions if all(m in run.directions for run in self.runs)]

    @property
    def apart(self) -> list[str]:
        """Runs that did not begin the second domain from the weights that the baseline had then."""
        first = self.domains[0]
        found = []
        for place in self.groups:
            for run, base in self._paired(place).values():
                if run.by_domain and not self._same_images(run, base, (first, first)):
                    found.append(str(run.path))
        return found

    def _row(self, place: Place) -> Row:
        """All figures of the runs of one row."""
        group = self.groups[place]
        runs = [group[seed] for seed in sorted(group)]
        pairs = list(self._paired(place).values())
        mine, paired = [run for run, _ in pairs], [base for _, base in pairs]
        # How well a domain was known just after it was learnt: where a strategy learns all at
        # once, or only some, that is told by the baseline.
        one_by_one = all(run.by_domain for run in runs)
        references = runs if one_by_one else paired if len(paired) == len(runs) else []
        known = bool(references) and all(run.by_domain for run in references)
        known = known and len(self.domains) > 1
        figures: dict[str, dict[str, Estimate]] = {name: {} for name in FIGURES}
        for metric in self.metrics:
            found = self._figures(runs, references if known else [], mine, paired, metric)
            for name in FIGURES:
                figures[name][metric] = found.get(name, Estimate(math.nan))
        costs = [_costs(run) for run in runs]
        times = [[_costs(run) for run in some] for some in (mine, paired)]
        return Row(
            self.label(place),
            self._baseline[place] == place,
            tuple(sorted(group)),
            figures,
            time=_times(*times),
            parameters=fmean(cost["extra_parameters"] for cost in costs),
            kept=fmean(cost["kept_bytes"] for cost in costs),
            windows=self._windows(runs, references) if known else {},
            curves={m: {d: _curve(runs, d, m) for d in self.domains} for m in self.metrics},
        )

    def _figures(
        self,
        runs: Sequence[Finished],
        references: Sequence[Finished],
        mine: Sequence[Finished],
        paired: Sequence[Finished],
        metric: str,
    ) -> dict[str, Estimate]:
        """Those of one metric that are defined.

        Args:
            runs: of the row.
            references: that tell how well a domain was known just after it was learnt; empty where
                nothing does.
            mine, paired: the row's runs and the baseline's, of the same seeds and images.
            metric: of the figures.
        """
        past, last = self.domains[:-1], self.domains[-1:]
        sign = 1 if self.first.directions[metric] else -1
        final = _average(runs, metric, self.domains, _at_the_end)
        bicubic = {d: runs[0].values(BICUBIC, d, metric) for d in last}
        found = {
            "target": mean({d: final[d] for d in last}),
            "over": mean({d: final[d] - bicubic[d] for d in last}, sign),
        }
        if past:
            found["source"] = mean({d: final[d] for d in past})
        if references:
            learnt = _average(references, metric, past, _just_after)
            found["forgetting"] = mean({d: learnt[d] - final[d] for d in past}, sign)
            found["gain"] = mean(self._gains(runs, references, metric), sign)
            if paired and all(run.by_domain for run in paired):
                own = mine if all(run.by_domain for run in runs) else paired
                ours = self._gains(mine, own, metric)
                found["share"] = ratio(ours, self._gains(paired, paired, metric), sign)
        if paired and past:
            ours = _average(mine, metric, past, _at_the_end)
            plain = _average(paired, metric, past, _at_the_end)
            found["against"] = mean({d: ours[d] - plain[d] for d in past}, sign)
        return found

    def _gains(
        self, runs: Sequence[Finished], references: Sequence[Finished], metric: str
    ) -> Images:
        """What each domain but the first gained since the first was learnt."""
        first, later = self.domains[0], self.domains[1:]
        new = _average(runs, metric, later, _just_after)
        old = _average(references, metric, later, lambda *_: first)
        return {d: new[d] - old[d] for d in new}

    def _windows(
        self, runs: Sequence[Finished], references: Sequence[Finished]
    ) -> dict[tuple[int, int], float]:
        """How much larger the denoising error of earlier domains got, in dB."""
        places = {place[2:] for place in references[0].windows}
        found = {}
        for window in sorted(places):
            changes = [
                growth(
                    run.windows.get((run.rows[-1], domain, *window)),
                    reference.windows.get((domain, domain, *window)),
                )
                for run, reference in zip(runs, references, strict=True)
                for domain in self.domains[:-1]
            ]
            if known := [change for change in changes if not math.isnan(change)]:
                found[window] = fmean(known)
        return found

    @cached_property
    def mixed(self) -> bool:
        """Whether rows were measured on different images, or in different ways."""
        return not all(
            run.tested == self.first.tested
            and all(self._same_images(run, self.first, (BICUBIC, d)) for d in self.domains)
            for run in self.runs
        )

    def _same_images(self, one: Finished, other: Finished, place: tuple[str, str]) -> bool:
        """Whether two runs measured the same there, but for what devices round differently."""
        for metric in self.metrics:
            ours, theirs = (run.values(*place, metric) for run in (one, other))
            if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=0, atol=1e-6):
                return False
        return True

    @cached_property
    def uneven(self) -> bool:
        """Whether rows are means of different seeds, and so of different trainings."""
        return len({row.seeds for row in self.rows}) > 1

    @property
    def stream(self) -> str:
        """Its name, without the folder of its file."""
        return Path(str(self.first.setting("stream"))).stem


def compare(found: RunSet, by: Sequence[str] = ()) -> list[Comparison]:
    """The comparisons of what was found: one, or one a stream where a sweep varies the stream.

    Args:
        found: runs, and what their sweep varies.
        by: further keys that tell rows apart.

    Raises:
        InputError: the runs do not compare.
    """
    told = [*dict.fromkeys([*(found.keys or ("strategy",)), *by])]
    streams = list(dict.fromkeys(str(run.setting("stream")) for run in found.runs))
    if "stream" not in told and len(streams) > 1:
        return [Comparison(found.runs, told, found.baseline)]  # which refuses them
    comparisons = []
    for stream in streams:
        runs = [run for run in found.runs if run.setting("stream") == stream]
        # What another stream alone varies tells nothing here.
        differ = [k for k in told if len({as_text(run.value(k)) for run in runs}) > 1]
        comparisons.append(Comparison(runs, differ, found.baseline))
    return comparisons


def _is_option(key: str) -> bool:
    return key.startswith("strategy.")


def _costs(run: Finished) -> dict[str, Any]:
    """Of the experiences after the first: seconds of all, what was kept before the last one.

    Where the first was not trained in the run, what a strategy did to remember it is counted too.
    """
    costs = run.record.costs
    learnt = [costs[row] for row in run.rows if row in costs and row != INIT]
    if not learnt:
        return {"seconds": 0.0, "cpu": True, "extra_parameters": 0, "kept_bytes": math.nan}
    later = learnt if len(learnt) == 1 or not learnt[0]["iterations"] else learnt[1:]
    kept = learnt[-2]["kept_bytes"] if len(learnt) > 1 else None
    return {
        "seconds": sum(cost["seconds"] for cost in later),
        "cpu": all(cost.get("clock") == "cpu" for cost in later),
        "extra_parameters": learnt[-1]["extra_parameters"],
        "kept_bytes": math.nan if kept is None else kept,
    }


def _times(costs: Sequence[Mapping[str, Any]], baseline: Sequence[Mapping[str, Any]]) -> float:
    """How many times as long; NaN where one counted its CPU's time and another the wall's."""
    clocks = {cost["cpu"] for cost in (*costs, *baseline) if cost["seconds"]}
    if len(clocks) > 1 or not baseline:
        return math.nan
    theirs = fmean(cost["seconds"] for cost in baseline)
    return fmean(cost["seconds"] for cost in costs) / theirs if theirs else math.nan


def _average(
    runs: Sequence[Finished],
    metric: str,
    domains: Sequence[str],
    row: Callable[[Finished, str], str],
) -> Images:
    """Over seeds, image by image, from the row that `row` tells of a run and a domain."""
    return {d: np.mean([r.values(row(r, d), d, metric) for r in runs], axis=0) for d in domains}


def _just_after(run: Finished, domain: str) -> str:
    """The row of when a domain was learnt; the last one, where all are learnt at once."""
    return domain if run.by_domain else run.rows[-1]


def _at_the_end(run: Finished, domain: str) -> str:
    return run.rows[-1]


def _curve(runs: Sequence[Finished], domain: str, metric: str) -> list[tuple[int, float]]:
    """Through the last experience, from what was before it."""
    found: dict[int, list[float]] = {}
    for run in runs:
        former = [INIT, *run.rows][-2]
        before: dict[str, Any] = {}
        for record in run.record.metrics:
            if record["domain"] != domain or metric not in record:
                continue
            if record["trained_on"] == former:
                before = record
            elif record["trained_on"] == run.rows[-1]:
                found.setdefault(record["experience_iteration"], []).append(record[metric])
        if before:
            found.setdefault(0, []).append(before[metric])
    return [(iteration, fmean(found[iteration])) for iteration in sorted(found)]
