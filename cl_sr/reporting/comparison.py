"""A comparison in words and tables."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from functools import cached_property
from statistics import fmean
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from cl_sr.evaluation.matrix import BICUBIC
from cl_sr.evaluation.statistics import RESAMPLINGS, Estimate, mean
from cl_sr.image_size import enlarged
from cl_sr.reporting.leak import leak_table
from cl_sr.reporting.tables import Table, digits, metric_name, number, writable
from cl_sr.runs.evaluation import Evaluated
from cl_sr.sweeps.comparison import FIGURES, Comparison, Row

FEW = 3  # rows with a table of their own each


class ComparisonReport:
    """What a comparison found, as it is shown.

    Args:
        comparison: of one stream.
    """

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison

    @property
    def headline(self) -> str:
        """The result in a sentence or two."""
        comparison = self.comparison
        rows, target = comparison.rows, comparison.domains[-1]
        known = [row for row in rows if not math.isnan(row.psnr("forgetting").value)]
        if not known:
            figure, unit = ("over", "dB over bicubic") if comparison.mixed else ("target", "dB")
            best = max(rows, key=lambda row: row.psnr(figure).value)
            value = best.psnr(figure).text(2)
            if len(rows) == 1:
                return f"{best.label} reaches {value} {unit} on {target}."
            return f"{best.label} is best on {target}, with {value} {unit}."
        told = [row for row in known if row.baseline][:1]
        rest = [row for row in known if not row.baseline]
        # Those that learnt nothing forget nothing.
        rest = [row for row in rest if row.psnr("share").value >= 0.9] or rest
        told += sorted(rest, key=lambda row: row.psnr("forgetting").value)[:1]
        return " ".join(
            f"{row.label} forgets {row.psnr('forgetting').text(2)} dB and gains "
            f"{row.psnr('gain').text(2)} dB."
            for row in told
        )

    @property
    def title(self) -> str:
        comparison = self.comparison
        origins = {data["source"] for data in comparison.first.record.environment["data"].values()}
        standin = ", stand-ins" if "stand-in" in origins else ""
        what = " and ".join(map(comparison.short, comparison.by))
        about = "forgetting" if len(comparison.domains) > 1 else "results"
        record = comparison.first.record
        name = f", evaluation {record.name}" if isinstance(record, Evaluated) else ""
        return f"{comparison.first.setting('stream')}{standin}: {about} by {what}{name}"

    @property
    def protocol(self) -> str:
        """What the figures depend on, and what they mean."""
        comparison, first = self.comparison, self.comparison.first

        def told(key: str) -> Any:
            return "varied" if key in comparison.by else first.setting(key)

        size, scale = told("data.size"), told("data.scale")
        sizes = f" ({enlarged(size, scale)})" if "varied" not in (size, scale) else ""
        metric = comparison.metrics[0]
        counts = ", ".join(
            f"{d} {len(first.values(BICUBIC, d, metric))}" for d in comparison.domains
        )
        plain, count = self.baseline_name, told("eval.draws")
        draws = f", mean of {count} draws an image" if count != 1 else ""
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
            f"from {told('eval.seed')}{draws}; {told('eval.split')} images: {counts}. "
            "±: half of the 95 % "
            f"confidence interval (bootstrap over images, {RESAMPLINGS} resamplings; shares are "
            f"paired with {plain}, image by image; it does not tell how seeds differ). "
            + ("Rows are of different seeds: only their shares are paired. " * comparison.uneven)
            + (meaning if len(comparison.domains) > 1 else "")
        ).strip()

    @property
    def bicubic(self) -> dict[str, float]:
        """Its PSNR on each domain; none where rows were measured on different images."""
        comparison = self.comparison
        if comparison.mixed:
            return {}
        first = comparison.first
        return {d: fmean(first.record.images[BICUBIC, d]["psnr"]) for d in comparison.domains}

    @property
    def baseline_name(self) -> str:
        labels = [row.label for row in self.comparison.rows if row.baseline]
        return "plain fine-tuning" if labels in ([], ["finetune"]) else " or ".join(labels)

    @cached_property
    def tables(self) -> list[Table]:
        comparison = self.comparison
        tables = [self._quality(metric) for metric in comparison.metrics]
        if len(comparison.domains) > 1:
            tables.append(self._costs())
            if any(row.windows for row in comparison.rows):
                tables.append(self._by_window())
        return [*tables, *self._over_iterations(), *self._leaks()]

    def _leaks(self) -> list[Table]:
        """What copies on both sides of a random split do on the last domain, means of seeds."""
        comparison = self.comparison
        measured, last = {}, comparison.domains[-1]
        for place, group in comparison.groups.items():
            runs = list(group.values())
            if runs[0].setting("data.split") == "random" and "psnr" in comparison.metrics:
                ours = np.mean([run.values(run.rows[-1], last, "psnr") for run in runs], axis=0)
                sides = runs[0].record.hashes[last]
                bicubic = runs[0].values(BICUBIC, last, "psnr")
                measured[comparison.label(place)] = *sides, ours.tolist(), bicubic.tolist()
        return [leak_table(measured)] if measured else []

    @property
    def _told_by(self) -> str:
        return ", ".join(map(self.comparison.short, self.comparison.by))

    def _quality(self, metric: str) -> Table:
        comparison = self.comparison
        past, last = comparison.domains[:-1], comparison.domains[-1]
        places = digits(metric)

        def cell(figure: str, sign: bool = False) -> Callable[[Row], str]:
            return lambda row: row.figures[figure][metric].text(places, sign)

        columns: dict[str, Callable[[Row], str]] = {
            "seeds": self._seeds,
            "+".join(past): cell("source"),
            last: cell("target"),
            "vs bicubic": cell("over", sign=True),
            "forgetting": cell("forgetting", sign=True),
            "gain": cell("gain", sign=True),
            "share of gain": lambda row: _share(row, metric),
        }
        if not past:
            for name in ("", "forgetting", "gain", "share of gain"):
                del columns[name]
        if past and not comparison.mixed:  # else it stands in a row of its own
            del columns["vs bicubic"]
        rows = [[row.label, *(told(row) for told in columns.values())] for row in comparison.rows]
        if not comparison.mixed:
            values = {d: comparison.first.values(BICUBIC, d, metric) for d in comparison.domains}
            known = {last: mean({last: values[last]}).text(places)}
            if past:
                known["+".join(past)] = mean({d: values[d] for d in past}).text(places)
            rows.append(["bicubic upsampling", *(known.get(name, "-") for name in columns)])
        return Table(metric_name(metric), [self._told_by, *columns], rows)

    def _seeds(self, row: Row) -> str:
        """How many; which, where rows differ in them."""
        return " ".join(map(str, row.seeds)) if self.comparison.uneven else str(len(row.seeds))

    def _costs(self) -> Table:
        head = [self._told_by, "time", "extra parameters", "kept from the past"]
        rows = [
            [
                row.label,
                Estimate(row.time).text(2, unit=" x"),
                f"{row.parameters:,.0f}",
                _size(row.kept),
            ]
            for row in self.comparison.rows
        ]
        return Table("What it takes", head, rows)

    def _by_window(self) -> Table:
        rows = self.comparison.rows
        windows = sorted({window for row in rows for window in row.windows})
        head = [self._told_by, *(f"t {start}-{stop}" for start, stop in windows)]
        cells = [
            [
                row.label,
                *(Estimate(row.windows.get(w, math.nan)).text(2, sign=True) for w in windows),
            ]
            for row in rows
        ]
        return Table("Denoising error of the source by time-steps: change in dB", head, cells)

    def _over_iterations(self) -> list[Table]:
        """Of each row that was evaluated within the last experience; none where rows are many."""
        comparison = self.comparison
        last = comparison.domains[-1]
        rows = [row for row in comparison.rows if len(row.curves["psnr"][last]) > 2]
        tables = []
        for row in rows if len(rows) <= FEW else []:
            columns = {
                f"{d} {metric_name(m)}": (m, dict(row.curves[m][d]))
                for m in comparison.metrics
                for d in comparison.domains
            }
            iterations = sorted({i for _, curve in columns.values() for i in curve})
            cells = [
                [f"{i:,}", *(number(m, curve.get(i, math.nan)) for m, curve in columns.values())]
                for i in iterations
            ]
            title = f"Over the iterations of learning {last}: {row.label}"
            tables.append(Table(title, ["iterations", *columns], cells))
        return tables

    def show(self, console: Console) -> None:
        """Print for a terminal."""
        console.print()
        console.rule(Text(self.title), align="left")
        for table in self.tables:
            table.show(console)
        console.print(Text(writable(self.protocol, console), style="dim"))

    def markdown(self, pictures: Sequence[str] = ()) -> str:
        parts = [f"## {self.title}", *(table.markdown() for table in self.tables), self.protocol]
        parts += [f"![{name}]({name}.png)" for name in pictures]
        return "\n\n".join(parts)

    def csv(self) -> str:
        """Every figure: `row,seeds,figure,metric,value,low,high`."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["row", "seeds", "figure", "metric", "value", "low", "high"])
        for row in self.comparison.rows:
            seeds = " ".join(map(str, row.seeds))
            for name in FIGURES:
                for metric, estimate in row.figures[name].items():
                    values = [estimate.value, estimate.low, estimate.high]
                    writer.writerow([row.label, seeds, name, metric, *map(repr, values)])
            for name in ("time", "parameters", "kept"):
                writer.writerow([row.label, seeds, name, "", repr(getattr(row, name)), "", ""])
            for (start, stop), change in row.windows.items():
                name = f"error {start}-{stop} (dB)"
                writer.writerow([row.label, seeds, name, "", repr(change), "", ""])
        return out.getvalue()


def _share(row: Row, metric: str) -> str:
    return "100 %" if row.baseline else row.figures["share"][metric].percent()


def _size(count: float) -> str:
    if math.isnan(count):
        return "-"
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
