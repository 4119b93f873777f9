"""Several runs side by side: what each strategy forgot, learnt and took, against fine-tuning.

Confidence intervals are percentiles of a bootstrap over the test images: a resampling takes the
same images for every strategy and for plain fine-tuning, so that what all find hard cancels out.
Seeds are averaged first; the intervals do not tell how training differs from seed to seed.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from cl_sr.config import read_yaml
from cl_sr.errors import InputError
from cl_sr.evaluation.matrix import BICUBIC, INIT
from cl_sr.evaluation.windows import errors_from_csv
from cl_sr.reporting.tables import Table, number
from cl_sr.training.run_folder import RunFolder

BASELINE = "finetune"
RESAMPLINGS = 2000
# What two runs must have in common for their figures to compare.
SAME = ("stream", "data.size", "data.scale", "data.kernel", "data.split", "eval.images",
        "eval.sampler", "eval.steps", "eval.eta", "eval.seed", "eval.protocol", "eval.metrics",
        "eval.batch_size", "model", "diffusion.prediction", "diffusion.target", "diffusion.steps",
        "diffusion.loss", "train.batch_size", "train.lr", "train.ema")  # fmt: skip

# What a row tells of each metric.
FIGURES = ("source", "target", "forgetting", "gain", "share", "against")

Array = np.ndarray[Any, np.dtype[np.float64]]
Images = dict[str, Array]  # by domain, a value an image


@dataclass(frozen=True)
class Finished:
    """A finished run as a comparison sees it.

    Attributes:
        path: its folder.
        config: its configuration.
        data: of each domain: source, number of images.
        manifest: the hash of the list of its images.
        metrics: by name, whether higher is better.
        images: by row and domain, then by metric, a value an image.
        records: of every evaluation, as in `metrics.jsonl`.
        costs: by experience.
        windows: by row, domain, start and stop: the denoising error.
    """

    path: Path
    config: dict[str, Any]
    data: dict[str, Any]
    manifest: str
    metrics: dict[str, bool]
    images: Mapping[tuple[str, str], Mapping[str, list[float]]]
    records: list[dict[str, Any]]
    costs: dict[str, dict[str, Any]]
    windows: Mapping[tuple[str, str, int, int], float]

    @property
    def strategy(self) -> str:
        return str(self.config["strategy"])

    @property
    def seed(self) -> int:
        return int(self.config["seed"])

    @property
    def domains(self) -> list[str]:
        return list(self.data)

    @cached_property
    def rows(self) -> list[str]:
        """What was learnt, in order; `init` where nothing was."""
        rows = dict.fromkeys(after for after, _ in self.images if after != BICUBIC)
        return list(rows)

    @property
    def by_domain(self) -> bool:
        """Whether it learnt one domain after the other, and all of them."""
        return self.rows == self.domains

    def check(self) -> None:
        """Refuse tables with holes.

        Raises:
            ValueError: a domain or an image is missing somewhere.
        """
        for domain in self.domains:
            counts = {
                len(self.images[row, domain][metric])
                for row in (BICUBIC, *self.rows)
                for metric in self.metrics
            }
            if len(counts) != 1 or not self.rows:
                raise ValueError(f"images.csv has not all images of {domain} in every row")

    @property
    def later_iterations(self) -> list[int]:
        """Of the domains after the first."""
        given = self.config["train"]["iterations"]
        budget = [given] if isinstance(given, int) else list(given)
        budget += budget[-1:] * (len(self.domains) - len(budget))
        return budget[1:]

    def values(self, after: str, domain: str, metric: str) -> Array:
        return np.asarray(self.images[after, domain][metric])


def read_finished(path: Path) -> Finished:
    """A run's results.

    Raises:
        InputError: it is no run, is not finished, evaluated nothing, or is damaged.
    """
    folder = RunFolder.open(path)
    if not folder.finished:
        raise InputError(f"{path} is not finished")
    if not folder.has("images.csv"):
        raise InputError(f"{path} has no images.csv: it evaluated nothing, or is of an old version")
    if missing := [n for n in ("costs.json", "windows.csv", "env.json") if not folder.has(n)]:
        raise InputError(f"{path} has no {' and no '.join(missing)}: repeat it with `cl-sr run`")
    try:
        environment = folder.read_json("env.json")
        config = read_yaml(path / "config.yaml")
        config["data"].setdefault("split", "test")  # runs of 0.1 have no such key
        windows = {
            (found.after, found.domain, found.start, found.stop): found.error
            for found in errors_from_csv(folder.read_text("windows.csv"))
        }
        run = Finished(
            path,
            config,
            environment["data"],
            environment["manifest_sha256"],
            environment["metrics"],
            folder.images(),
            list(folder.metrics()),
            folder.read_json("costs.json"),
            windows,
        )
        run.check()
        return run
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise InputError(
            f"{path} is damaged ({type(error).__name__}: {error}): repeat it with `cl-sr run`"
        ) from error


def find_runs(paths: Sequence[Path]) -> tuple[list[Finished], list[str]]:
    """The finished runs in folders, which are runs or hold some; and why others are left out.

    Raises:
        InputError: there are none, or a path is no folder.
    """
    folders = []
    for path in paths:
        if not path.is_dir():
            raise InputError(f"no folder {path}: name runs, or a folder of runs")
        if (path / "status.json").is_file():
            folders.append(path)
        else:
            folders += sorted(file.parent for file in path.glob("*/status.json"))
    runs, left_out = [], []
    for folder in dict.fromkeys(folders):
        try:
            runs.append(read_finished(folder))
        except InputError as error:
            left_out.append(str(error))
    if not runs:
        why = f": {left_out[0]}" if left_out else "; `cl-sr run` makes them"
        raise InputError(f"no finished runs in {', '.join(map(str, paths))}{why}")
    return runs, left_out


@dataclass(frozen=True)
class Figure:
    """A number with its 95 % confidence interval; NaN where it is not defined."""

    value: float
    low: float = math.nan
    high: float = math.nan

    def text(self, digits: int, sign: bool = False, unit: str = "") -> str:
        if math.isnan(self.value):
            return "-"
        plus = "+" if sign else ""
        shown = f"{self.value:{plus}.{digits}f}"
        if not math.isnan(self.low):
            shown += f" ± {(self.high - self.low) / 2:.{digits}f}"
        return shown + unit

    def percent(self) -> str:
        return Figure(100 * self.value, 100 * self.low, 100 * self.high).text(0, unit=" %")


@dataclass(frozen=True)
class Row:
    """A strategy: everything that the tables say of it.

    Attributes:
        strategy: its text.
        seeds: of its runs.
        source, target: by metric, the final value on the domains before the last one, on the
            last one.
        forgetting: by metric, just after learning a domain - final, mean of the earlier domains.
        gain: by metric, what learning each later domain gave it.
        share: by metric, the gain as a share of plain fine-tuning's.
        against: by metric, the final value on the earlier domains - plain fine-tuning's.
        time: seconds of the later experiences over plain fine-tuning's.
        parameters: extra ones at inference.
        kept: bytes from the past while the last domain is learnt.
        windows: by window, how much larger the error of the earlier domains got, in dB.
        curves: by domain, pairs of the iteration of the last experience and the mean PSNR.
    """

    strategy: str
    seeds: tuple[int, ...]
    source: dict[str, Figure]
    target: dict[str, Figure]
    forgetting: dict[str, Figure]
    gain: dict[str, Figure]
    share: dict[str, Figure]
    against: dict[str, Figure]
    time: float
    parameters: float
    kept: float
    windows: dict[tuple[int, int], float]
    curves: dict[str, list[tuple[int, float]]]


class Comparison:
    """Runs of one stream, grouped by strategy; plain fine-tuning first.

    Raises:
        InputError: the runs do not compare.
    """

    def __init__(self, runs: Sequence[Finished]) -> None:
        self.runs = runs
        self.first = runs[0]
        _check_alike(runs)
        self.domains = self.first.domains
        if len(self.domains) < 2:
            raise InputError(f"{self.first.path}: one domain alone cannot be forgotten")
        groups: dict[str, dict[int, Finished]] = {}
        for run in runs:
            if run.seed in groups.setdefault(run.strategy, {}):
                other = groups[run.strategy][run.seed]
                raise InputError(
                    f"{other.path} and {run.path} are both {run.strategy} with seed {run.seed}: "
                    "name one of them"
                )
            groups[run.strategy][run.seed] = run
        self.baseline = groups.get(BASELINE, {})
        order = sorted(groups, key=lambda name: name != BASELINE)
        sizes = {d: len(self.first.images[BICUBIC, d][self.metrics[0]]) for d in self.domains}
        random = np.random.default_rng(0)
        self._draws = {d: random.integers(0, n, (RESAMPLINGS, n)) for d, n in sizes.items()}
        self.rows = [self._row(name, groups[name]) for name in order]

    @property
    def metrics(self) -> list[str]:
        return list(self.first.metrics)

    @property
    def apart(self) -> list[str]:
        """Runs that did not begin the second domain from the weights that fine-tuning had then."""
        first = self.domains[0]
        return [
            str(run.path)
            for run in self.runs
            if (base := self.baseline.get(run.seed)) is not None
            and run.by_domain
            and run.images[first, first] != base.images[first, first]
        ]

    def _resampled(self, images: Images) -> Array:
        """The mean of the domains' means, of each resampling."""
        means = [values[self._draws[d]].mean(1) for d, values in images.items()]
        return np.asarray(np.mean(means, axis=0))

    def _figure(self, images: Images, sign: int = 1) -> Figure:
        """The mean of the domains' means; with `sign` -1 of a metric of which less is better."""
        return _figure(sign * _mean(images), sign * self._resampled(images))

    def _share(self, images: Images, whole: Images, sign: int) -> Figure:
        """The ratio of two means over the same images; not defined where the whole may be none."""
        wholes = sign * self._resampled(whole)
        if np.percentile(wholes, 2.5) <= 0:
            return Figure(math.nan)
        return _figure(_mean(images) / _mean(whole), sign * self._resampled(images) / wholes)

    def _row(self, name: str, group: Mapping[int, Finished]) -> Row:
        """All figures of the runs of one strategy."""
        runs = [group[seed] for seed in sorted(group)]
        paired = [self.baseline[run.seed] for run in runs if run.seed in self.baseline]
        complete = len(paired) == len(runs)
        references = [run if run.by_domain else self.baseline.get(run.seed, run) for run in runs]
        known = all(run.by_domain for run in references)
        figures: dict[str, dict[str, Figure]] = {name: {} for name in FIGURES}
        for metric in self.metrics:
            sign = 1 if self.first.metrics[metric] else -1
            final = self._final(runs, metric)
            past, last = self.domains[:-1], self.domains[-1:]
            found = {
                "source": self._figure({d: final[d] for d in past}),
                "target": self._figure({d: final[d] for d in last}),
            }
            if known:
                learnt = _average(references, metric, past, _just_after)
                gained = self._gains(runs, references, metric)
                found["forgetting"] = self._figure({d: learnt[d] - final[d] for d in past}, sign)
                found["gain"] = self._figure(gained, sign)
                if complete:
                    theirs = self._gains(paired, paired, metric)
                    found["share"] = self._share(gained, theirs, sign)
            if complete:
                plain = self._final(paired, metric)
                found["against"] = self._figure({d: final[d] - plain[d] for d in past}, sign)
            for key in FIGURES:
                figures[key][metric] = found.get(key, Figure(math.nan))
        costs = [_costs(run) for run in runs]
        baseline = [_costs(run) for run in paired] if complete else []
        return Row(
            name,
            tuple(sorted(group)),
            **figures,
            time=_times(costs, baseline),
            parameters=fmean(cost["extra_parameters"] for cost in costs),
            kept=fmean(cost["kept_bytes"] for cost in costs),
            windows=self._windows(runs, references) if known else {},
            curves={d: self._curve(runs, d) for d in self.domains},
        )

    def _curve(self, runs: Sequence[Finished], domain: str) -> list[tuple[int, float]]:
        """Through the last experience, from what was before it."""
        found: dict[int, list[float]] = {}
        for run in runs:
            if len(run.rows) < 2:
                continue
            before = {"experience_iteration": 0}
            for record in run.records:
                if record["domain"] != domain:
                    continue
                if record["trained_on"] == run.rows[-2]:
                    before = record
                elif record["trained_on"] == run.rows[-1]:
                    found.setdefault(record["experience_iteration"], []).append(record["psnr"])
            if "psnr" in before:
                found.setdefault(0, []).append(before["psnr"])
        return [(iteration, fmean(found[iteration])) for iteration in sorted(found)]

    def _final(self, runs: Sequence[Finished], metric: str) -> Images:
        return _average(runs, metric, self.domains, _at_the_end)

    def _gains(
        self, runs: Sequence[Finished], references: Sequence[Finished], metric: str
    ) -> Images:
        """What learning each domain but the first gave it."""
        before = dict(zip(self.domains[1:], self.domains, strict=False))
        later = self.domains[1:]
        new = _average(runs, metric, later, _just_after)
        old = _average(references, metric, later, lambda _, d: before[d])
        return {d: new[d] - old[d] for d in new}

    def _windows(
        self, runs: Sequence[Finished], references: Sequence[Finished]
    ) -> dict[tuple[int, int], float]:
        """How much larger the denoising error of earlier domains got, in dB."""
        places = {place[2:] for place in references[0].windows}
        found = {}
        for window in sorted(places):
            changes = []
            for run, reference in zip(runs, references, strict=True):
                for domain in self.domains[:-1]:
                    now = run.windows.get((run.rows[-1], domain, *window))
                    then = reference.windows.get((domain, domain, *window))
                    if now and then:
                        changes.append(10 * math.log10(now / then))
            if changes:
                found[window] = fmean(changes)
        return found

    # What is shown

    @property
    def title(self) -> str:
        sources = {data["source"] for data in self.first.data.values()}
        standin = ", stand-ins" if "stand-in" in sources else ""
        return f"{self.first.config['stream']}{standin}: forgetting by strategy"

    @property
    def protocol(self) -> str:
        evaluation, data = self.first.config["eval"], self.first.config["data"]
        counts = ", ".join(
            f"{d} {len(self.first.images[BICUBIC, d][self.metrics[0]])}" for d in self.domains
        )
        return (
            f"Protocol {evaluation['protocol']}; low resolution: {data['kernel']}, "
            f"x{data['scale']} ({data['size'] // data['scale']} to {data['size']} px); sampler "
            f"{evaluation['sampler']}, {evaluation['steps']} steps, noise seeds from "
            f"{evaluation['seed']}; {data['split']} images: {counts}. ±: half of the 95 % "
            f"confidence interval (bootstrap over images, {RESAMPLINGS} resamplings, paired "
            "with plain fine-tuning; it does not tell how seeds differ). Forgetting: just after "
            "learning - at the end, mean of the domains before the last one; below zero it became "
            "better. Share: of plain fine-tuning's gain on the later domains. Time: of learning "
            "them, over plain fine-tuning's (CPU time on a CPU). Kept: images, statistics and "
            "importances that learning the last domain has from the ones before; copies of the "
            "weights are not counted."
        )

    def tables(self) -> list[Table]:
        return [
            *(self._quality(metric) for metric in self.metrics),
            self._costs(),
            self._by_window(),
        ]

    def _quality(self, metric: str) -> Table:
        past, last = "+".join(self.domains[:-1]), self.domains[-1]
        digits = 2 if metric == "psnr" else 4
        head = ["strategy", "seeds", past, last, "forgetting", "share of gain"]
        rows = []
        for row in self.rows:
            own = row.strategy == BASELINE
            rows.append([
                row.strategy,
                str(len(row.seeds)),
                row.source[metric].text(digits),
                row.target[metric].text(digits),
                row.forgetting[metric].text(digits, sign=True),
                "100 %" if own else row.share[metric].percent(),
            ])  # fmt: skip
        bicubic = [fmean(self.first.images[BICUBIC, d][metric]) for d in self.domains]
        cells = [number(metric, fmean(bicubic[:-1])), number(metric, bicubic[-1]), "-", "-"]
        rows.append(["bicubic upsampling", "-", *cells])
        return Table(f"{metric.upper()}{' (dB)' if metric == 'psnr' else ''}", head, rows)

    def _costs(self) -> Table:
        head = ["strategy", "time", "extra parameters", "kept from the past"]
        rows = [
            [
                row.strategy,
                Figure(row.time).text(2, unit=" x"),
                f"{row.parameters:,.0f}",
                _size(row.kept),
            ]
            for row in self.rows
        ]
        return Table("What it takes", head, rows)

    def _by_window(self) -> Table:
        windows = sorted({window for row in self.rows for window in row.windows})
        head = ["strategy", *(f"t {start}-{stop}" for start, stop in windows)]
        rows = [
            [
                row.strategy,
                *(Figure(row.windows.get(w, math.nan)).text(2, sign=True) for w in windows),
            ]
            for row in self.rows
        ]
        return Table("Denoising error of the source by time-steps: change in dB", head, rows)

    def show(self, console: Console) -> None:
        """Print for a terminal."""
        console.print()
        console.rule(Text(self.title), align="left")
        for table in self.tables():
            console.print(table.rich())
        console.print(Text(self.protocol, style="dim"))

    def markdown(self, pictures: Sequence[str] = ()) -> str:
        parts = [f"# {self.title}", *(table.markdown() for table in self.tables()), self.protocol]
        parts += [f"![{name}]({name}.png)" for name in pictures]
        return "\n\n".join(parts) + "\n"

    def csv(self) -> str:
        """Every figure: `strategy,seeds,figure,metric,value,low,high`."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["strategy", "seeds", "figure", "metric", "value", "low", "high"])
        for row in self.rows:
            seeds = " ".join(map(str, row.seeds))
            for name in FIGURES:
                for metric, figure in getattr(row, name).items():
                    values = [figure.value, figure.low, figure.high]
                    writer.writerow([row.strategy, seeds, name, metric, *map(repr, values)])
            for name in ("time", "parameters", "kept"):
                writer.writerow([row.strategy, seeds, name, "", repr(getattr(row, name)), "", ""])
            for (start, stop), change in row.windows.items():
                name = f"error {start}-{stop} (dB)"
                writer.writerow([row.strategy, seeds, name, "", repr(change), "", ""])
        return out.getvalue()


def _check_alike(runs: Sequence[Finished]) -> None:
    first = runs[0]
    for run in runs[1:]:
        for key in SAME:
            ours, theirs = (_key(r.config, key) for r in (first, run))
            if ours != theirs:
                raise InputError(
                    f"{first.path} and {run.path} do not compare: {key} is {ours} and {theirs}"
                )
        if first.later_iterations != run.later_iterations:
            raise InputError(
                f"{first.path} and {run.path} do not compare: train.iterations after the first "
                f"domain are {first.later_iterations} and {run.later_iterations}"
            )
        if first.manifest != run.manifest:
            raise InputError(f"{first.path} and {run.path} do not compare: other images")


def _key(config: Mapping[str, Any], key: str) -> Any:
    for part in key.split("."):
        config = config[part]
    return config


def _costs(run: Finished) -> dict[str, Any]:
    """Of the experiences after the first: seconds of all, what was kept before the last one."""
    learnt = [run.costs[row] for row in run.rows if row in run.costs and row != INIT]
    if not learnt:
        return {"seconds": 0.0, "cpu": True, "extra_parameters": 0, "kept_bytes": math.nan}
    later = learnt[1:] or learnt
    kept = learnt[-2]["kept_bytes"] if len(learnt) > 1 else None
    return {
        "seconds": sum(cost["seconds"] for cost in later),
        "cpu": all(cost.get("clock") == "cpu" for cost in later),
        "extra_parameters": learnt[-1]["extra_parameters"],
        "kept_bytes": math.nan if kept is None else kept,
    }


def _times(costs: Sequence[Mapping[str, Any]], baseline: Sequence[Mapping[str, Any]]) -> float:
    """How many times as long; NaN where one counted its CPU's time and another the wall's."""
    if len({cost["cpu"] for cost in (*costs, *baseline) if cost["seconds"]}) > 1 or not baseline:
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


def _mean(images: Images) -> float:
    """The mean of the domains' means."""
    return float(np.mean([values.mean() for values in images.values()]))


def _figure(value: float, resampled: Array) -> Figure:
    if math.isnan(value):
        return Figure(math.nan)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Figure(value, float(low), float(high))


def _size(count: float) -> str:
    if math.isnan(count):
        return "-"
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
