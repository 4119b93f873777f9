"""Tables as data, and as rich and Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from rich.table import Table as RichTable

from cl_sr.evaluation.matrix import BICUBIC, INIT, ForgettingMatrix

UNITS = {"psnr": "dB"}
DIGITS = {"psnr": 2}


@dataclass(frozen=True)
class Table:
    """Rows of text under a head; the first column names the row."""

    title: str
    head: list[str]
    rows: list[list[str]]

    def rich(self) -> RichTable:
        table = RichTable(title=self.title, title_justify="left")
        for number, name in enumerate(self.head):
            table.add_column(name, justify="left" if number == 0 else "right", overflow="fold")
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        lines = [self.head, ["---", *["---:"] * (len(self.head) - 1)], *self.rows]
        return "\n".join(
            [f"**{self.title}**", "", *("| " + " | ".join(cells) + " |" for cells in lines)]
        )


def metric_title(matrix: ForgettingMatrix) -> str:
    """`PSNR (dB, higher is better)`."""
    direction = "higher is better" if matrix.higher_is_better else "lower is better"
    unit = UNITS.get(matrix.metric)
    return f"{matrix.metric.upper()} ({unit + ', ' if unit else ''}{direction})"


def number(metric: str, value: float, sign: bool = False) -> str:
    """A value with the digits that its metric deserves; a dash for what is not defined."""
    if math.isnan(value):
        return "-"
    return f"{value:{'+' if sign else ''}.{DIGITS.get(metric, 4)}f}"


def matrix_table(
    matrix: ForgettingMatrix, labels: Mapping[str, str], initial: str = "before training"
) -> Table:
    """R[after][domain]; `initial` is what to call the weights that a run starts from."""
    names = {BICUBIC: "bicubic upsampling", INIT: initial}
    rows = []
    for after, values in matrix.rows.items():
        cells = [number(matrix.metric, values.get(d, math.nan)) for d in matrix.domains]
        rows.append([names.get(after, f"after {after}"), *cells])
    head = [metric_title(matrix), *(labels.get(d, d) for d in matrix.domains)]
    return Table(f"{matrix.metric.upper()} of every domain", head, rows)


def forgetting_table(matrices: list[ForgettingMatrix], labels: Mapping[str, str]) -> Table:
    """The field's summary figures of each domain. Positive differences are improvements."""
    rows = []
    for matrix in matrices:
        for domain in matrix.domains:
            past = domain in matrix.previous
            figures = [
                matrix.learning_gain(domain),
                matrix.backward_transfer(domain) if past else math.nan,
                matrix.forgetting(domain) if past else math.nan,
                matrix.over_bicubic(domain),
            ]
            cells = [number(matrix.metric, figure, sign=True) for figure in figures]
            rows.append([labels.get(domain, domain), matrix.metric.upper(), *cells])
        if len(matrix.previous) > 1:
            means = [math.nan, matrix.mean_backward_transfer, matrix.mean_forgetting, math.nan]
            cells = [number(matrix.metric, mean, sign=True) for mean in means]
            rows.append(["mean of previous", matrix.metric.upper(), *cells])
    head = ["domain", "metric", "gain", "BWT", "forgetting", "vs bicubic"]
    return Table("Forgetting", head, rows)
