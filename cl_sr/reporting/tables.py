"""Tables as data, and as rich and Markdown."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table as RichTable

from cl_sr.evaluation.matrix import (
    BICUBIC,
    FORGETTING,
    FROM_BEST,
    GAIN,
    INIT,
    OVER_BICUBIC,
    ForgettingMatrix,
)
from cl_sr.evaluation.statistics import Estimate, Measured, difference, mean

NOTHING: Measured = {}
INTERVAL = r" (± [\d.]+|\[.*?\])"
UNITS = {"psnr": "dB", "colour_error": "of 255", "sharpness": "original: 1"}


@dataclass(frozen=True)
class Table:
    """Rows of text under a head; the first column names the row."""

    title: str
    head: list[str]
    rows: list[list[str]]

    def show(self, console: Console) -> None:
        """Print for a terminal, whatever letters it has; without intervals where it is narrow."""
        widths = [max(map(len, column)) for column in zip(self.head, *self.rows, strict=True)]
        narrow = sum(widths) + 3 * len(widths) + 1 > console.width
        table = RichTable(title=writable(self.title, console), title_justify="left")
        for number, name in enumerate(self.head):
            justify: Literal["left", "right"] = "left" if number == 0 else "right"
            table.add_column(writable(name, console), justify=justify, overflow="fold")
        left_out = False
        for name, *whole in self.rows:
            cells = [re.sub(INTERVAL, "", cell) for cell in whole] if narrow else whole
            left_out |= cells != whole
            table.add_row(*(writable(cell, console) for cell in (name, *cells)))
        console.print(table)
        if left_out:
            console.print("without intervals, as the terminal is narrow", style="dim")

    def markdown(self) -> str:
        cells = [[cell.replace("|", r"\|") for cell in row] for row in [self.head, *self.rows]]
        lines = [cells[0], ["---", *["---:"] * (len(self.head) - 1)], *cells[1:]]
        return "\n".join(
            [f"**{self.title}**", "", *("| " + " | ".join(cells) + " |" for cells in lines)]
        )

    def csv(self) -> str:
        """As it is shown, with its head."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerows([self.head, *self.rows])
        return out.getvalue()

    def latex(self) -> str:
        """For a paper: needs `\\usepackage{booktabs}`."""
        head, *rows = (" & ".join(map(_tex, cells)) + r" \\" for cells in [self.head, *self.rows])
        columns = "l" + "r" * (len(self.head) - 1)
        return "\n".join(
            [
                f"% {self.title}",
                rf"\begin{{tabular}}{{{columns}}}",
                r"\toprule",
                head,
                r"\midrule",
                *rows,
                r"\bottomrule",
                r"\end{tabular}",
                "",
            ]
        )

    @property
    def slug(self) -> str:
        """Its title as a file's name; where it is cut, it ends with a hash of the whole."""
        short = re.sub(r"\(.*?\)", "", self.title.lower())
        name = re.sub(r"[^a-z0-9]+", "-", short).strip("-")
        cut = hashlib.sha256(self.title.encode()).hexdigest()[:8]
        return name if len(name) <= 80 else f"{name[:71]}-{cut}"


def writable(text: str, console: Console) -> str:
    """Text in the letters that a terminal has."""
    if console.encoding.lower().startswith("utf"):
        return text
    return text.replace("±", "+/-").encode("ascii", "replace").decode()


TEX = {
    **{c: "\\" + c for c in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "±": r"$\pm$",
    "×": r"$\times$",
}


def _tex(text: str) -> str:
    """Text that LaTeX shows as it is; a minus sign before a number is one."""
    escaped = "".join(TEX.get(c, c) for c in text)
    return re.sub(r"^-(?=\d)", "$-$", escaped)


def metric_title(matrix: ForgettingMatrix) -> str:
    """`PSNR (dB, higher is better)`."""
    direction = "higher is better" if matrix.higher_is_better else "lower is better"
    unit = UNITS.get(matrix.metric)
    return f"{metric_label(matrix.metric)} ({unit + ', ' if unit else ''}{direction})"


def domain_labels(data: Mapping[str, Any]) -> dict[str, str]:
    """What to call each domain of a run's `env.json`: stand-ins are told as such."""
    return {
        name: f"{name} (stand-in)" if domain["source"] == "stand-in" else name
        for name, domain in data.items()
    }


def metric_label(metric: str) -> str:
    """`PSNR`; `colour error` and `sharpness`, which are no abbreviations."""
    words = "_" in metric or metric == "sharpness"
    return metric.replace("_", " ") if words else metric.upper()


def metric_name(metric: str) -> str:
    """`PSNR (dB)`."""
    unit = UNITS.get(metric)
    return metric_label(metric) + (f" ({unit})" if unit else "")


def digits(metric: str) -> int:
    """After the point: what its values deserve."""
    return {"psnr": 2, "colour_error": 2, "sharpness": 3}.get(metric, 4)


def number(metric: str, value: float, sign: bool = False) -> str:
    """A value with the digits that its metric deserves; a dash for what is not defined."""
    if math.isnan(value):
        return "-"
    return Estimate(value).text(digits(metric), sign)


def matrix_table(
    matrix: ForgettingMatrix,
    labels: Mapping[str, str],
    initial: str = "before training",
    images: Measured = NOTHING,
) -> Table:
    """R[after][domain].

    Args:
        matrix: of one metric.
        labels: what to call the domains.
        initial: what to call the weights that a run starts from.
        images: every image's metrics, for confidence intervals.
    """
    names = {BICUBIC: "bicubic upsampling", INIT: initial}
    rows = []
    for after, values in matrix.rows.items():
        cells = []
        for d in matrix.domains:
            each = images.get((after, d), {}).get(matrix.metric)
            figure = mean({d: np.asarray(each)}) if each else Estimate(values.get(d, math.nan))
            cells.append(figure.text(digits(matrix.metric)))
        rows.append([names.get(after, f"after {after}"), *cells])
    head = [metric_title(matrix), *(labels.get(d, d) for d in matrix.domains)]
    return Table(f"{metric_name(matrix.metric)} of every domain", head, rows)


def forgetting_table(
    matrices: list[ForgettingMatrix], labels: Mapping[str, str], images: Measured = NOTHING
) -> Table:
    """The field's summary figures of each domain, as `ForgettingMatrix.ends` defines them.

    Gains are improvements where they are positive; forgetting is a loss.
    """
    columns = [GAIN, FORGETTING, FROM_BEST, OVER_BICUBIC]
    rows = []
    for matrix in matrices:
        places, previous = digits(matrix.metric), matrix.previous

        def cell(figure: str, domains: Sequence[str]) -> str:
            pairs = {domain: matrix.ends(figure, domain) for domain in domains}  # noqa: B023
            return difference(matrix, images, pairs).text(places, sign=True)  # noqa: B023

        for domain in matrix.domains:
            lost = domain in previous
            cells = [
                cell(figure, [domain]) if lost or figure in (GAIN, OVER_BICUBIC) else "-"
                for figure in columns
            ]
            rows.append([labels.get(domain, domain), metric_label(matrix.metric), *cells])
        if len(previous) > 1:
            both = [cell(figure, previous) for figure in (FORGETTING, FROM_BEST)]
            rows.append(["mean of previous", metric_label(matrix.metric), "-", *both, "-"])
    head = ["domain", "metric", *columns]
    if not any(matrix.previous for matrix in matrices):
        rows = [[*row[:3], row[5]] for row in rows]
        return Table("Gains", [*head[:3], head[5]], rows)
    return Table("Forgetting", head, rows)
