"""Figures: the curves of every domain, a grid of sample images, strategies side by side."""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.text import Text

from cl_sr.evaluation.matrix import BICUBIC, ForgettingMatrix
from cl_sr.files import whole_file
from cl_sr.reporting.samples import Strips
from cl_sr.reporting.tables import metric_title
from cl_sr.sweeps.comparison import Row

# After Okabe and Ito: told apart with every common colour vision; yellow and sky darker than
# theirs, so that every line has a contrast of 3 to 1 with white and with black.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#BF6A98", "#A87400", "#3A8FC2")
INK = "#010203"  # stands for the page's colour of text
MARKERS = ("o", "s", "^", "D", "v", "P")


def curves(
    records: Sequence[Mapping[str, Any]],
    matrices: Sequence[ForgettingMatrix],
    labels: Mapping[str, str],
    title: str,
) -> Figure:
    """Every metric of every domain over the iterations; dotted: bicubic upsampling."""
    figure = Figure(figsize=(8, 0.6 + 2.9 * len(matrices)), layout="constrained")
    axes = np.atleast_1d(figure.subplots(len(matrices), 1, sharex=True))
    starts = _starts(records)
    for axis, matrix in zip(axes, matrices, strict=True):
        for k, domain in enumerate(matrix.domains):
            points = [(r["iteration"], r[matrix.metric]) for r in records if r["domain"] == domain]
            colour = COLOURS[k % len(COLOURS)]
            axis.plot(
                *zip(*points, strict=True),
                color=colour,
                marker=MARKERS[k % len(MARKERS)],
                markersize=4,
                label=labels.get(domain, domain),
            )
            bicubic = matrix.rows.get(BICUBIC, {}).get(domain)
            if bicubic is not None:
                axis.axhline(bicubic, color=colour, linestyle=":", linewidth=1.2)
        for name, start in starts.items():
            if start:
                axis.axvline(start, color="0.6", linewidth=1)
            axis.annotate(
                f" learns {name}",
                (start, 1.0),
                xycoords=("data", "axes fraction"),
                va="bottom",
                fontsize=8,
                color="0.35",
            )
        axis.set_ylabel(metric_title(matrix))
        _plain(axis)
    axes[-1].set_xlabel("training iterations")
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc="outside lower left",
        ncols=3,
        frameon=False,
        fontsize=9,
        title="dotted: bicubic upsampling",
        title_fontsize=8,
    )
    figure.suptitle(title, fontsize=10, wrap=True)
    return figure


def _starts(records: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The iteration at which each experience began."""
    starts: dict[str, int] = {}
    for record in records:
        if record["iteration"]:
            start = record["iteration"] - record["experience_iteration"]
            starts.setdefault(record["trained_on"], start)
    return starts


def sample_grid(strips: Sequence[Strips], title: str) -> Figure:
    """Images in rows, a column each for low resolution, bicubic, every experience and the truth."""
    columns = list(dict.fromkeys(name for strip in strips for name in strip.columns))
    rows = [(strip.label, strip, k) for strip in strips for k in range(strip.count)]
    first = (images[0] for strip in strips for images in strip.columns.values() if images)
    high, wide = next(first).shape[:2]
    across, down = (1.35 * side / min(high, wide) for side in (wide, high))  # inches
    figure = Figure(figsize=(across * len(columns) + 0.4, down * len(rows) + 0.8))
    grid = np.atleast_2d(figure.subplots(len(rows), len(columns), squeeze=False))
    for r, (label, strip, k) in enumerate(rows):
        for c, name in enumerate(columns):
            axis, images = grid[r][c], strip.columns.get(name, [])
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
            if k < len(images):
                axis.imshow(images[k], interpolation="nearest")
            if r == 0:
                axis.set_title(name.replace(" after ", " after\n"), fontsize=8)
            if c == 0:
                axis.set_ylabel(label, fontsize=7)
    figure.suptitle(title, fontsize=9, wrap=True)
    figure.subplots_adjust(0.04, 0.01, 0.99, 1 - 0.75 / (down * len(rows) + 0.8), 0.03, 0.03)
    return figure


def trade_off(rows: Sequence[Row], title: str) -> Figure | None:
    """Every strategy by what it forgot (PSNR, dB) and what share of the gain it has.

    Args:
        rows: of a `cl_sr.sweeps.comparison.Comparison`.
        title: over the figure.

    Returns:
        None where there are no two rows with both figures.
    """
    known = [(k, row) for k, row in enumerate(rows) if not math.isnan(row.psnr("share").value)]
    if len(known) < 2:
        return None
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axis = figure.subplots()
    for k, row in known:
        share, lost = row.psnr("share"), row.psnr("forgetting")
        x, y = 100 * share.value, lost.value
        axis.errorbar(
            x,
            y,
            xerr=[[x - 100 * share.low], [100 * share.high - x]],
            yerr=[[y - lost.low], [lost.high - y]],
            **_mark(k),
            markersize=6,
            linewidth=1,
            linestyle="none",
            label=row.label,
        )
    axis.axhline(0, color="0.6", linewidth=1)
    axis.set_xlabel("share of fine-tuning's gain on the target, PSNR (%)")
    axis.set_ylabel("forgetting, PSNR (dB; lower is better)")
    _plain(axis)
    return _with_legend(figure, title)


def last_experience(rows: Sequence[Row], bicubic: Mapping[str, float], title: str) -> Figure | None:
    """Every domain's PSNR while the last one is learnt, a line a row; as `trade_off`.

    Rows that were not evaluated in between are left out; dotted: bicubic upsampling.
    """
    known = [
        (k, row)
        for k, row in enumerate(rows)
        if all(len(curve) > 2 for curve in row.curves["psnr"].values())
    ]
    if not known:
        return None
    domains = list(known[0][1].curves["psnr"])
    figure = Figure(figsize=(9, 1 + 2.8 * len(domains)), layout="constrained")
    axes = np.atleast_1d(figure.subplots(len(domains), 1, sharex=True))
    for axis, domain in zip(axes, domains, strict=True):
        for k, row in known:
            axis.plot(
                *zip(*row.curves["psnr"][domain], strict=True),
                **_mark(k),
                markersize=4,
                linewidth=1.2,
                label=row.label if axis is axes[0] else None,
            )
        if domain in bicubic:
            axis.axhline(bicubic[domain], color="0.5", linestyle=":", linewidth=1.2)
        axis.set_ylabel(f"{domain}, PSNR (dB)")
        _plain(axis)
    axes[-1].set_xlabel(f"iterations of learning {domains[-1]}")
    return _with_legend(figure, title)


def by_window(rows: Sequence[Row], title: str) -> Figure | None:
    """How much larger the source's denoising error got, by time-step window; as `trade_off`."""
    known = [(k, row) for k, row in enumerate(rows) if row.windows]
    if not known:
        return None
    figure = Figure(figsize=(8, 4), layout="constrained")
    axis = figure.subplots()
    windows = sorted({window for _, row in known for window in row.windows})
    for k, row in known:
        axis.plot(
            range(len(windows)),
            [row.windows.get(window, math.nan) for window in windows],
            **_mark(k),
            markersize=5,
            linewidth=1.2,
            label=row.label,
        )
    axis.axhline(0, color="0.6", linewidth=1)
    axis.set_xticks(range(len(windows)), [f"{start}-{stop}" for start, stop in windows])
    axis.set_xlabel("time-steps (left: low noise)")
    axis.set_ylabel("denoising error of the source (change in dB)")
    _plain(axis)
    return _with_legend(figure, title)


def _mark(k: int) -> dict[str, Any]:
    """The look of the k-th row: 36 differ, the first six in both colour and marker."""
    marker = MARKERS[(k + k // len(COLOURS)) % len(MARKERS)]
    return {"color": COLOURS[k % len(COLOURS)], "marker": marker}


def _plain(axis: Any) -> None:
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def _with_legend(figure: Figure, title: str) -> Figure:
    rows = sum(len(axis.get_legend_handles_labels()[1]) for axis in figure.axes)
    # So that the axes stay as high as they are, however many rows there are.
    figure.set_figheight(figure.get_figheight() + 0.1 * rows)
    figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10, wrap=True)
    return figure


def save_png(figure: Figure, path: Path) -> None:
    with whole_file(path) as partial:
        FigureCanvasAgg(figure).print_png(str(partial), metadata={"Software": "cl-sr"})


def svg(figure: Figure, alternative: str) -> str:
    """A figure for a page: text and axes have the page's colour, in the light and in the dark.

    Args:
        figure: of this module.
        alternative: what it shows, for those who do not see it.
    """
    for text in figure.findobj(match=Text):
        text.set_color(INK)
    for axis in figure.axes:
        axis.tick_params(colors=INK)
        for spine in axis.spines.values():
            spine.set_edgecolor(INK)
    figure.suptitle("")  # the page has a heading of its own
    out = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "cl-sr", "font.family": "sans-serif"}):
        figure.set_facecolor("none")
        for axis in figure.axes:
            axis.set_facecolor("none")
        FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None, "Creator": None})
    drawing = out.getvalue()
    drawing = drawing[drawing.index("<svg") :].replace(INK, "currentColor")
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    # Names are unique in a page with several figures.
    own = hashlib.sha256(alternative.encode()).hexdigest()[:8]
    drawing = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{own}-", drawing)
    return drawing.replace("<svg", f'<svg role="img" aria-label="{escape(alternative)}"', 1)
