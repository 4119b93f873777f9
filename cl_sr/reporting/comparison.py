"""Several runs side by side: what each forgot, learnt and took, against plain fine-tuning.

Rows are told apart by their strategy, or by whatever a sweep varies; seeds are averaged.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, NoReturn

import numpy as np
from rich.console import Console
from rich.text import Text

from cl_sr.config import keys
from cl_sr.errors import InputError
from cl_sr.evaluation.bootstrap import RESAMPLINGS, Array, Figure, mean, ratio
from cl_sr.evaluation.matrix import BICUBIC, INIT
from cl_sr.evaluation.windows import growth
from cl_sr.reporting.finished import Finished, Found
from cl_sr.reporting.leak import leak_table
from cl_sr.reporting.tables import Table, digits, metric_name, number, writable
from cl_sr.training.run_folder import RunFolder

BASELINE = {"strategy": "finetune"}
# In what runs may differ and their figures still compare. Of the iterations, those of the later
# domains must be the same, and those of the first where they are not 0 (with --init).
FREE = {"seed", "strategy", "device", "init", "data.root", "data.folders", "data.memory_gb",
        "train.workers", "train.iterations", "train.on_divergence", "eval.every", "eval.samples",
        "eval.batch_size", "eval.metrics", "checkpoint.every", "checkpoint.minutes",
        "checkpoint.keep"}  # fmt: skip
SCHEDULE = {"diffusion.schedule", "diffusion.start", "diffusion.end"}  # or that of the weights
# What changes the images that a run has.
OTHER_IMAGES = {"data.split", "data.split_seed", "data.shares", "data.copies", "data.root",
                "data.folders", "data.size", "data.standin_images", "eval.split"}  # fmt: skip

# What a row tells of each metric.
FIGURES = ("source", "target", "over", "forgetting", "gain", "share", "against")

FEW = 3  # rows with a table of their own each

Images = dict[str, Array]  # by domain, a value an image
Place = tuple[str, ...]  # the values that tell a row apart, as text


@dataclass(frozen=True)
class Row:
    """Runs that differ in their seeds alone: everything that the tables say of them.

    Attributes:
        label: what it is called: its strategy, and what else differs between rows.
        baseline: whether others are compared with it.
        seeds: of its runs.
        source, target: by metric, the final value on the domains before the last one, on the
            last one.
        over: by metric, the final value on the last domain - bicubic upsampling's.
        forgetting: by metric, just after learning a domain - final, mean of the earlier domains.
        gain: by metric, what each later domain gained since the first was learnt.
        share: by metric, the gain as a share of the baseline's.
        against: by metric, the final value on the earlier domains - the baseline's.
        time: seconds of the later experiences over the baseline's.
        parameters: extra ones at inference.
        kept: bytes from the past while the last domain is learnt.
        windows: by window, how much larger the error of the earlier domains got, in dB.
        curves: by metric and domain, pairs of the iteration of the last experience and the mean.
    """

    label: str
    baseline: bool
    seeds: tuple[int, ...]
    source: dict[str, Figure]
    target: dict[str, Figure]
    over: dict[str, Figure]
    forgetting: dict[str, Figure]
    gain: dict[str, Figure]
    share: dict[str, Figure]
    against: dict[str, Figure]
    time: float
    parameters: float
    kept: float
    windows: dict[tuple[int, int], float]
    curves: dict[str, dict[str, list[tuple[int, float]]]]


class Comparison:
    """Runs of one stream in rows; the rows that others are compared with come first.

    Args:
        runs: finished ones.
        by: the configuration keys that tell rows apart, beside the seed.
        baseline: by key, the values of the row that a row's shares are of; its other values are the
            row's own.

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
        _check_alike(runs, by)
        self.domains = self.first.domains
        wanted = {key: _text(value) for key, value in (baseline or BASELINE).items()}
        wanted = {key: value for key, value in wanted.items() if key in self.by}
        groups: dict[Place, dict[int, Finished]] = {}
        for run in runs:
            group = groups.setdefault(self._place(run), {})
            if run.seed in group:
                raise InputError(
                    f"{group[run.seed].path} and {run.path} are both "
                    f"{', '.join(self._place(run))} with seed {run.seed}: name one of them"
                )
            group[run.seed] = run
        self._groups = groups
        if not wanted:  # the first one
            wanted = dict(zip(self.by, next(iter(groups)), strict=True))
        self._baseline = {
            place: tuple(wanted.get(key, value) for key, value in zip(self.by, place, strict=True))
            for place in groups
        }
        order = sorted(groups, key=lambda place: self._baseline[place] != place)
        self.rows = [self._row(place) for place in order]

    def _place(self, run: Finished) -> Place:
        return tuple(_text(run.value(key)) for key in self.by)

    def _label(self, place: Place) -> str:
        """What a row is called: the strategy, and what else differs between rows."""
        parts = []
        for k, (key, value) in enumerate(zip(self.by, place, strict=True)):
            differs = len({other[k] for other in self._groups}) > 1
            if key == "strategy" and (differs or len(self.by) == 1):
                parts.append(value)
            elif differs:
                parts.append(f"{self._short(key)} {value}")
        return ", ".join(parts) or ", ".join(place)

    def _short(self, key: str) -> str:
        """The last part of a key, where it is enough to tell it from the others."""
        last = key.rsplit(".", 1)[-1]
        alike = [other for other in self.by if other.rsplit(".", 1)[-1] == last]
        return key if len(alike) > 1 else last

    def _paired(self, place: Place) -> dict[int, tuple[Finished, Finished]]:
        """By seed, a row's run and the baseline's, where both are there, of the same images."""
        theirs = self._groups.get(self._baseline[place], {})
        last = self.domains[-1]
        return {
            seed: (run, theirs[seed])
            for seed, run in sorted(self._groups[place].items())
            if seed in theirs
            and self._same_images(theirs[seed], run, (BICUBIC, last))
            and theirs[seed].tested == run.tested
        }

    @property
    def has_baseline(self) -> bool:
        return any(self._groups.get(place) for place in self._baseline.values())

    @property
    def metrics(self) -> list[str]:
        """Those that all runs have."""
        return [m for m in self.first.metrics if all(m in run.metrics for run in self.runs)]

    @property
    def apart(self) -> list[str]:
        """Runs that did not begin the second domain from the weights that the baseline had then."""
        first = self.domains[0]
        found = []
        for place in self._groups:
            for run, base in self._paired(place).values():
                if run.by_domain and not self._same_images(run, base, (first, first)):
                    found.append(str(run.path))
        return found

    def _row(self, place: Place) -> Row:
        """All figures of the runs of one row."""
        group = self._groups[place]
        runs = [group[seed] for seed in sorted(group)]
        pairs = list(self._paired(place).values())
        mine, paired = [run for run, _ in pairs], [base for _, base in pairs]
        # How well a domain was known just after it was learnt: where a strategy learns all at
        # once, or only some, that is told by the baseline.
        one_by_one = all(run.by_domain for run in runs)
        references = runs if one_by_one else paired if len(paired) == len(runs) else []
        known = bool(references) and all(run.by_domain for run in references)
        known = known and len(self.domains) > 1
        past, last = self.domains[:-1], self.domains[-1:]
        figures: dict[str, dict[str, Figure]] = {name: {} for name in FIGURES}
        for metric in self.metrics:
            sign = 1 if self.first.metrics[metric] else -1
            final = self._final(runs, metric)
            bicubic = {d: runs[0].values(BICUBIC, d, metric) for d in last}
            found = {
                "target": mean({d: final[d] for d in last}),
                "over": mean({d: final[d] - bicubic[d] for d in last}, sign),
            }
            if past:
                found["source"] = mean({d: final[d] for d in past})
            if known:
                learnt = _average(references, metric, past, _just_after)
                gained = self._gains(runs, references, metric)
                found["forgetting"] = mean({d: learnt[d] - final[d] for d in past}, sign)
                found["gain"] = mean(gained, sign)
                if paired and all(run.by_domain for run in paired):
                    ours = self._gains(mine, mine if one_by_one else paired, metric)
                    found["share"] = ratio(ours, self._gains(paired, paired, metric), sign)
            if paired and past:
                ours, plain = self._final(mine, metric), self._final(paired, metric)
                found["against"] = mean({d: ours[d] - plain[d] for d in past}, sign)
            for key in FIGURES:
                figures[key][metric] = found.get(key, Figure(math.nan))
        costs = [_costs(run) for run in runs]
        times = [[_costs(run) for run in some] for some in (mine, paired)]
        return Row(
            self._label(place),
            self._baseline[place] == place,
            tuple(sorted(group)),
            **figures,
            time=_times(*times),
            parameters=fmean(cost["extra_parameters"] for cost in costs),
            kept=fmean(cost["kept_bytes"] for cost in costs),
            windows=self._windows(runs, references) if known else {},
            curves={m: {d: _curve(runs, d, m) for d in self.domains} for m in self.metrics},
        )

    def _final(self, runs: Sequence[Finished], metric: str) -> Images:
        return _average(runs, metric, self.domains, _at_the_end)

    def _gains(
        self, runs: Sequence[Finished], references: Sequence[Finished], metric: str
    ) -> Images:
        """What each domain but the first gained since the first was learnt.

        Not since just before it was learnt: a strategy that spoils a domain that is still to come
        would gain the more by learning it.
        """
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

    # What is shown

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
            ours, theirs = (np.asarray(run.images[place][metric]) for run in (one, other))
            if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=0, atol=1e-6):
                return False
        return True

    @property
    def first_runs(self) -> dict[str, Finished]:
        """By the row's label, its run of the lowest seed."""
        return {self._label(place): group[min(group)] for place, group in self._groups.items()}

    @property
    def stream(self) -> str:
        """Its name, without the folder of its file."""
        return Path(str(self.first.config["stream"])).stem

    @property
    def headline(self) -> str:
        """The result in a sentence or two."""
        known = [row for row in self.rows if not math.isnan(row.forgetting["psnr"].value)]
        if not known:
            figure, unit = ("over", "dB over bicubic") if self.mixed else ("target", "dB")
            best = max(self.rows, key=lambda row: getattr(row, figure)["psnr"].value)
            value = getattr(best, figure)["psnr"].text(2)
            if len(self.rows) == 1:
                return f"{best.label} reaches {value} {unit} on {self.domains[-1]}."
            return f"{best.label} is best on {self.domains[-1]}, with {value} {unit}."
        told = [row for row in known if row.baseline][:1]
        rest = [row for row in known if not row.baseline]
        # Those that learnt nothing forget nothing.
        rest = [row for row in rest if row.share["psnr"].value >= 0.9] or rest
        told += sorted(rest, key=lambda row: row.forgetting["psnr"].value)[:1]
        return " ".join(
            f"{row.label} forgets {row.forgetting['psnr'].text(2)} dB and gains "
            f"{row.gain['psnr'].text(2)} dB."
            for row in told
        )

    @property
    def title(self) -> str:
        sources = {data["source"] for data in self.first.data.values()}
        standin = ", stand-ins" if "stand-in" in sources else ""
        what = " and ".join(map(self._short, self.by))
        about = "forgetting" if len(self.domains) > 1 else "results"
        return f"{self.first.config['stream']}{standin}: {about} by {what}"

    @property
    def protocol(self) -> str:
        """What the figures depend on, and what they mean."""

        def told(key: str) -> Any:
            return "varied" if key in self.by else self.first.setting(key)

        size, scale = told("data.size"), told("data.scale")
        sizes = f" ({size // scale} to {size} px)" if "varied" not in (size, scale) else ""
        images = self.first.images
        counts = ", ".join(f"{d} {len(images[BICUBIC, d][self.metrics[0]])}" for d in self.domains)
        plain = self.baseline_name
        meaning = (
            "Forgetting: just after learning - at the end, mean of the domains before the last "
            "one; below zero it became better. Gain: just after learning a later domain - just "
            f"after the first one. Share: of the gain of {plain}. Time: of learning them (of all, "
            f"where all are learnt at once), over that of {plain} (CPU time on a CPU). Kept: "
            "images, statistics and importances that learning the last domain has from the ones "
            "before; copies of the weights are not counted."
        )
        return (
            f"Protocol {told('eval.protocol')}; low resolution: {told('data.kernel')}, x{scale}"
            f"{sizes}; sampler {told('eval.sampler')}, {told('eval.steps')} steps, noise seeds "
            f"from {told('eval.seed')}; {told('eval.split')} images: {counts}. ±: half of the 95 % "
            f"confidence interval (bootstrap over images, {RESAMPLINGS} resamplings; shares are "
            f"paired with {plain}, image by image; it does not tell how seeds differ). "
            + ("Rows are of different seeds: only their shares are paired. " * self.uneven)
            + (meaning if len(self.domains) > 1 else "")
        ).strip()

    @property
    def bicubic(self) -> dict[str, float]:
        """Its PSNR on each domain; none where rows were measured on different images."""
        if self.mixed:
            return {}
        return {d: fmean(self.first.images[BICUBIC, d]["psnr"]) for d in self.domains}

    @property
    def baseline_name(self) -> str:
        labels = [row.label for row in self.rows if row.baseline]
        return "plain fine-tuning" if labels in ([], ["finetune"]) else " or ".join(labels)

    def tables(self) -> list[Table]:
        tables = [self._quality(metric) for metric in self.metrics]
        if len(self.domains) > 1:
            tables.append(self._costs())
            if any(row.windows for row in self.rows):
                tables.append(self._by_window())
        return [*tables, *self._over_iterations(), *self._leaks()]

    def _leaks(self) -> list[Table]:
        """What copies on both sides of a random split do on the last domain, means of seeds."""
        measured, last = {}, self.domains[-1]
        for place, group in self._groups.items():
            runs = list(group.values())
            if runs[0].setting("data.split") == "random" and "psnr" in self.metrics:
                ours = np.mean([run.images[run.rows[-1], last]["psnr"] for run in runs], axis=0)
                sides = RunFolder(runs[0].path).hashes()[last]
                measured[self._label(place)] = *sides, ours, runs[0].images[BICUBIC, last]["psnr"]
        return [leak_table(measured)] if measured else []

    @property
    def _told_by(self) -> str:
        return ", ".join(map(self._short, self.by))

    def _quality(self, metric: str) -> Table:
        past, last = self.domains[:-1], self.domains[-1]
        places = digits(metric)
        columns: dict[str, Callable[[Row], str]] = {
            "seeds": lambda row: self._seeds(row),
            "+".join(past): lambda row: row.source[metric].text(places),
            last: lambda row: row.target[metric].text(places),
            "vs bicubic": lambda row: row.over[metric].text(places, sign=True),
            "forgetting": lambda row: row.forgetting[metric].text(places, sign=True),
            "gain": lambda row: row.gain[metric].text(places, sign=True),
            "share of gain": lambda row: _share(row, metric),
        }
        if not past:
            for name in ("", "forgetting", "gain", "share of gain"):
                del columns[name]
        if past and not self.mixed:  # else it stands in a row of its own
            del columns["vs bicubic"]
        rows = [[row.label, *(cell(row) for cell in columns.values())] for row in self.rows]
        if not self.mixed:
            values = {d: self.first.values(BICUBIC, d, metric) for d in self.domains}
            known = {last: mean({last: values[last]}).text(places)}
            if past:
                known["+".join(past)] = mean({d: values[d] for d in past}).text(places)
            rows.append(["bicubic upsampling", *(known.get(name, "-") for name in columns)])
        return Table(metric_name(metric), [self._told_by, *columns], rows)

    @cached_property
    def uneven(self) -> bool:
        """Whether rows are means of different seeds, and so of different trainings."""
        return len({row.seeds for row in self.rows}) > 1

    def _seeds(self, row: Row) -> str:
        """How many; which, where rows differ in them."""
        return " ".join(map(str, row.seeds)) if self.uneven else str(len(row.seeds))

    def _costs(self) -> Table:
        head = [self._told_by, "time", "extra parameters", "kept from the past"]
        rows = [
            [
                row.label,
                Figure(row.time).text(2, unit=" x"),
                f"{row.parameters:,.0f}",
                _size(row.kept),
            ]
            for row in self.rows
        ]
        return Table("What it takes", head, rows)

    def _by_window(self) -> Table:
        windows = sorted({window for row in self.rows for window in row.windows})
        head = [self._told_by, *(f"t {start}-{stop}" for start, stop in windows)]
        rows = [
            [
                row.label,
                *(Figure(row.windows.get(w, math.nan)).text(2, sign=True) for w in windows),
            ]
            for row in self.rows
        ]
        return Table("Denoising error of the source by time-steps: change in dB", head, rows)

    def _over_iterations(self) -> list[Table]:
        """Of each row that was evaluated within the last experience; none where rows are many."""
        rows = [row for row in self.rows if len(row.curves["psnr"][self.domains[-1]]) > 2]
        tables = []
        for row in rows if len(rows) <= FEW else []:
            columns = {
                f"{d} {metric_name(m)}": (m, dict(row.curves[m][d]))
                for m in self.metrics
                for d in self.domains
            }
            iterations = sorted({i for _, curve in columns.values() for i in curve})
            cells = [
                [f"{i:,}", *(number(m, curve.get(i, math.nan)) for m, curve in columns.values())]
                for i in iterations
            ]
            title = f"Over the iterations of learning {self.domains[-1]}: {row.label}"
            tables.append(Table(title, ["iterations", *columns], cells))
        return tables

    def show(self, console: Console) -> None:
        """Print for a terminal."""
        console.print()
        console.rule(Text(self.title), align="left")
        for table in self.tables():
            table.show(console)
        console.print(Text(writable(self.protocol, console), style="dim"))

    def markdown(self, pictures: Sequence[str] = ()) -> str:
        parts = [f"## {self.title}", *(table.markdown() for table in self.tables()), self.protocol]
        parts += [f"![{name}]({name}.png)" for name in pictures]
        return "\n\n".join(parts)

    def csv(self) -> str:
        """Every figure: `row,seeds,figure,metric,value,low,high`."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["row", "seeds", "figure", "metric", "value", "low", "high"])
        for row in self.rows:
            seeds = " ".join(map(str, row.seeds))
            for name in FIGURES:
                for metric, figure in getattr(row, name).items():
                    values = [figure.value, figure.low, figure.high]
                    writer.writerow([row.label, seeds, name, metric, *map(repr, values)])
            for name in ("time", "parameters", "kept"):
                writer.writerow([row.label, seeds, name, "", repr(getattr(row, name)), "", ""])
            for (start, stop), change in row.windows.items():
                name = f"error {start}-{stop} (dB)"
                writer.writerow([row.label, seeds, name, "", repr(change), "", ""])
        return out.getvalue()


def compare(found: Found, by: Sequence[str] = ()) -> list[Comparison]:
    """The comparisons of what was found: one, or one a stream where a sweep varies the stream.

    Args:
        found: runs, and what their sweep varies.
        by: further keys that tell rows apart.

    Raises:
        InputError: the runs do not compare.
    """
    told = [*dict.fromkeys([*(found.keys or ("strategy",)), *by])]
    streams = list(dict.fromkeys(str(run.config["stream"]) for run in found.runs))
    if "stream" not in told and len(streams) > 1:
        return [Comparison(found.runs, told, found.baseline)]  # which refuses them
    comparisons = []
    for stream in streams:
        runs = [run for run in found.runs if run.config["stream"] == stream]
        # What another stream alone varies tells nothing here.
        differ = [k for k in told if len({_text(run.value(k)) for run in runs}) > 1]
        comparisons.append(Comparison(runs, differ, found.baseline))
    return comparisons


def _check_alike(runs: Sequence[Finished], by: Sequence[str]) -> None:
    first = runs[0]

    def refuse(run: Finished, why: str) -> NoReturn:
        raise InputError(f"{first.path} and {run.path} do not compare: {why}")

    free = FREE | set(by)
    for run in runs[1:]:
        # The weights of --init bring their own, which the configuration does not tell.
        schedules = {r.setting("diffusion.schedule") for r in (first, run)}
        skip = free | (SCHEDULE if "init" in schedules else set())
        for key, _ in keys():
            ours, theirs = first.setting(key), run.setting(key)
            if key not in skip and ours != theirs:
                makes = "compares each by itself" if key == "stream" else "makes rows of it"
                refuse(run, f"{key} is {ours} and {theirs}; --by {key} {makes}")
        if "train.iterations" not in by:
            if first.later_iterations != run.later_iterations:
                given = f"{first.later_iterations} and {run.later_iterations}"
                refuse(run, f"train.iterations after the first domain are {given}")
            ours, theirs = first.first_iterations, run.first_iterations
            if ours and theirs and ours != theirs:
                refuse(run, f"train.iterations of the first domain are {ours} and {theirs}")
        if first.manifest != run.manifest and not OTHER_IMAGES & set(by):
            domains = [d for d in first.tested if first.tested[d] != run.tested.get(d)]
            refuse(run, f"other images of {' and '.join(domains)}" if domains else "other images "
                   "to train on (see their manifest.csv)")  # fmt: skip


def _text(value: Any) -> str:
    """A value of the grid as it is shown."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items())
    return value if isinstance(value, str) else json.dumps(value)


def _costs(run: Finished) -> dict[str, Any]:
    """Of the experiences after the first: seconds of all, what was kept before the last one.

    Where the first was not trained in the run, what a strategy did to remember it is counted too.
    """
    learnt = [run.costs[row] for row in run.rows if row in run.costs and row != INIT]
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
        for record in run.records:
            if record["domain"] != domain or metric not in record:
                continue
            if record["trained_on"] == former:
                before = record
            elif record["trained_on"] == run.rows[-1]:
                found.setdefault(record["experience_iteration"], []).append(record[metric])
        if before:
            found.setdefault(0, []).append(before[metric])
    return [(iteration, fmean(found[iteration])) for iteration in sorted(found)]


def _share(row: Row, metric: str) -> str:
    return "100 %" if row.baseline else row.share[metric].percent()


def _size(count: float) -> str:
    if math.isnan(count):
        return "-"
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
