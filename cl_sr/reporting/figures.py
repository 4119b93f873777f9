"""Figures as PNG: the curves of every domain, and a grid of sample images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from cl_sr.evaluation.matrix import BICUBIC, INIT, ForgettingMatrix
from cl_sr.reporting.tables import metric_title

# Okabe and Ito: told apart with every common colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")


def curves(
    records: Sequence[Mapping[str, Any]],
    matrices: Sequence[ForgettingMatrix],
    labels: Mapping[str, str],
    title: str,
    path: Path,
) -> None:
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
    axes[0].legend(frameon=False, title="dotted: bicubic", title_fontsize=8, fontsize=9)
    axes[-1].set_xlabel("training iterations")
    figure.suptitle(title, fontsize=10, wrap=True)
    _save(figure, path)


def _starts(records: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The iteration at which each experience began."""
    starts: dict[str, int] = {}
    for record in records:
        if record["iteration"]:
            start = record["iteration"] - record["experience_iteration"]
            starts.setdefault(record["trained_on"], start)
    return starts


def sample_grid(
    folder: Path, after: Sequence[str], labels: Mapping[str, str], title: str, path: Path
) -> None:
    """Low resolution, bicubic, SR after each experience, high resolution: a row an image.

    Args:
        folder: `samples/` of a run, one folder of strips a domain.
        after: the experiences, in order; `init` for a run that trains nothing.
        labels: what to call each domain.
        title: over the grid.
        path: where to write the PNG.
    """
    columns = {"lr": "low resolution", "bicubic": "bicubic"}
    for name in after:
        columns[f"after-{name}"] = "zero-shot" if name == INIT else f"SR after\n{name}"
    columns |= {"hr": "high resolution"}
    rows: list[tuple[str, list[np.ndarray | None]]] = []
    for domain, label in labels.items():
        strips = [_strip(folder / domain / f"{column}.png") for column in columns]
        count = max((len(strip) for strip in strips), default=0)
        for k in range(count):
            rows.append((label, [strip[k] if k < len(strip) else None for strip in strips]))
    if not rows:
        return
    figure = Figure(figsize=(1.35 * len(columns) + 0.4, 1.35 * len(rows) + 0.8))
    grid = np.atleast_2d(figure.subplots(len(rows), len(columns), squeeze=False))
    for r, (label, images) in enumerate(rows):
        for c, (axis, image, heading) in enumerate(
            zip(grid[r], images, columns.values(), strict=True)
        ):
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
            if image is not None:
                axis.imshow(image, interpolation="nearest")
            if r == 0:
                axis.set_title(heading, fontsize=8)
            if c == 0:
                axis.set_ylabel(label, fontsize=7)
    figure.suptitle(title, fontsize=9, wrap=True)
    figure.subplots_adjust(0.04, 0.01, 0.99, 1 - 0.75 / (1.35 * len(rows) + 0.8), 0.03, 0.03)
    _save(figure, path)


def _strip(path: Path) -> list[np.ndarray]:
    """The square images that stand side by side in a strip; none where there is no file."""
    if not path.is_file():
        return []
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    return np.split(pixels, pixels.shape[1] // pixels.shape[0], axis=1)


def trade_off(rows: Sequence[Any], title: str, path: Path) -> None:
    """Every strategy by what it forgot (PSNR, dB) and what share of the gain it has.

    Args:
        rows: of a `cl_sr.reporting.comparison.Comparison`.
        title: over the figure.
        path: where to write the PNG; nothing is written where no row has both figures.
    """
    known = [row for row in rows if row.share["psnr"].value == row.share["psnr"].value]
    if not known:
        return
    figure = Figure(figsize=(8, 5), layout="constrained")
    axis = figure.subplots()
    for k, row in enumerate(known):
        share, lost = row.share["psnr"], row.forgetting["psnr"]
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
            label=row.strategy,
        )
    axis.axhline(0, color="0.6", linewidth=1)
    axis.set_xlabel("share of fine-tuning's gain on the target, PSNR (%)")
    axis.set_ylabel("forgetting of the source, PSNR (dB; lower is better)")
    _plain(axis)
    _save_with_legend(figure, title, path)


def last_experience(rows: Sequence[Any], title: str, path: Path) -> None:
    """Every domain's PSNR while the last one is learnt, a line a strategy; as `trade_off`."""
    known = [row for row in rows if all(len(curve) > 2 for curve in row.curves.values())]
    if not known:
        return
    domains = list(known[0].curves)
    figure = Figure(figsize=(9, 1 + 2.8 * len(domains)), layout="constrained")
    axes = np.atleast_1d(figure.subplots(len(domains), 1, sharex=True))
    for axis, domain in zip(axes, domains, strict=True):
        for k, row in enumerate(known):
            axis.plot(
                *zip(*row.curves[domain], strict=True),
                **_mark(k),
                markersize=4,
                linewidth=1.2,
                label=row.strategy if axis is axes[0] else None,
            )
        axis.set_ylabel(f"{domain}, PSNR (dB)")
        _plain(axis)
    axes[-1].set_xlabel(f"iterations of learning {domains[-1]}")
    _save_with_legend(figure, title, path)


def by_window(rows: Sequence[Any], title: str, path: Path) -> None:
    """How much larger the source's denoising error got, by time-step window; as `trade_off`."""
    known = [row for row in rows if row.windows]
    if not known:
        return
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axis = figure.subplots()
    windows = sorted(known[0].windows)
    for k, row in enumerate(known):
        axis.plot(
            range(len(windows)),
            [row.windows[window] for window in windows],
            **_mark(k),
            markersize=5,
            linewidth=1.2,
            label=row.strategy,
        )
    axis.axhline(0, color="0.6", linewidth=1)
    axis.set_xticks(range(len(windows)), [f"{start}-{stop}" for start, stop in windows])
    axis.set_xlabel("time-steps (left: low noise)")
    axis.set_ylabel("denoising error of the source (change in dB)")
    _plain(axis)
    _save_with_legend(figure, title, path)


def _mark(k: int) -> dict[str, Any]:
    """The look of the k-th strategy: as many as there are colours and markers differ."""
    marker = MARKERS[(k // len(COLOURS)) % len(MARKERS)]
    return {"color": COLOURS[k % len(COLOURS)], "marker": marker}


def _plain(axis: Any) -> None:
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def _save_with_legend(figure: Figure, title: str, path: Path) -> None:
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10, wrap=True)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure).print_png(str(path), metadata={"Software": "cl-sr"})
