"""Reports on disk: the HTML page, Markdown, figures, and each table as CSV and LaTeX."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cl_sr.evaluation.matrix import INIT
from cl_sr.files import whole_folder, write_text
from cl_sr.reporting import figures
from cl_sr.reporting.comparison import ComparisonReport
from cl_sr.reporting.page import Chart, Grid, Page, Section, Tiles
from cl_sr.reporting.report import Report
from cl_sr.reporting.samples import (
    ERROR_FULL,
    HIGH,
    Strips,
    data_address,
    read_strips,
)
from cl_sr.reporting.tables import Table, domain_labels
from cl_sr.runs.evaluation import command_of
from cl_sr.runs.record import Record
from cl_sr.sweeps.comparison import Comparison
from cl_sr.sweeps.finished import Finished, RunSet
from cl_sr.yaml_text import dump_yaml

FEW = 3  # runs that are missing, by name
MOST_COLUMNS = 8  # of images over the iterations
MOST_MAPS = 6  # rows of a comparison that have error maps
MANIFEST = "manifest.csv of a run lists every image with its hash and side."
MAPS = (
    f"Error maps: mean absolute error of the three colours, from 0 (dark) to {ERROR_FULL} of 255 "
    "or more (bright)."
)


def publish_run(report: Report) -> list[str]:
    """Write all of a run's report into its folder.

    Returns:
        the names of the files, the page first.

    Raises:
        OSError: the folder cannot be written.
    """
    drawn: dict[str, Figure] = {}
    record = report.record
    if record.matrices and any(line["iteration"] for line in record.metrics):
        drawn["curves"] = figures.curves(
            record.metrics, record.matrices, report.labels, report.title
        )
    columns = _columns(report)
    strips = _run_strips(report, columns)
    if strips:
        drawn["samples"] = figures.sample_grid(strips, report.title)
    for name in ("curves", "samples"):
        _draw(drawn.get(name), record.path / f"{name}.png")
    write_tables(report.tables, record.path / "tables")
    text = report.markdown(list(drawn), command_of(record))
    write_text(record.path / "report.md", text)
    page = _run_page(report, strips, list(columns), drawn.get("curves"))
    write_text(record.path / "report.html", page.html())
    return ["report.html", "report.md", *(f"{name}.png" for name in drawn), "tables"]


def _draw(figure: Figure | None, path: Path) -> None:
    """Write a figure; one of an earlier report goes where there is none now."""
    if figure is None:
        path.unlink(missing_ok=True)
    else:
        figures.save_png(figure, path)


def write_tables(tables: Sequence[Table], folder: Path) -> None:
    """Each as CSV and LaTeX, in the place of those of an earlier report."""
    with whole_folder(folder) as partial:
        for table in tables:
            write_text(partial / f"{table.slug}.csv", table.csv())
            write_text(partial / f"{table.slug}.tex", table.latex())


def _columns(report: Report) -> dict[str, str]:
    """By the heading of a column, the strip of what a run draws after each experience.

    Of a run that was stopped in its first experience, the newest images.
    """
    matrices, path = report.record.matrices, report.record.path
    learnt = matrices[0].learnt if matrices else []
    if learnt:
        return {f"SR after {name}": f"after-{name}" for name in learnt}
    if any((path / "samples").glob(f"*/after-{INIT}.png")):
        return {"zero-shot": f"after-{INIT}"}
    newest = max((file.stem for file in path.glob("samples/*/iteration-*.png")), default="")
    return {f"SR at {newest.replace('-', ' ')}": newest} if newest else {}


def _run_strips(report: Report, columns: Mapping[str, str]) -> list[Strips]:
    samples = report.record.path / "samples"
    found = []
    for domain, label in report.labels.items():
        files = {heading: samples / domain / f"{name}.png" for heading, name in columns.items()}
        strips = read_strips(label, samples, domain, files, report.record.settings["data"]["size"])
        if strips.count:
            found.append(strips)
    return found


def _run_page(
    report: Report,
    strips: list[Strips],
    drawn: Sequence[str],
    curves: Figure | None,
) -> Page:
    results = Section("results", "Results", report.tables, note=report.protocol)
    if curves is not None:
        results.charts.append(
            Chart(
                figures.svg(curves, f"Curves of every domain: {report.headline}"),
                "Every domain over the iterations of training; dotted: bicubic upsampling; grey "
                "lines: where a domain begins. The numbers are in metrics.jsonl.",
            )
        )
    sections = [results]
    grids = [_grid(k, s.with_errors(drawn), drawn) for k, s in enumerate(strips)]
    if grids:
        sections.append(Section("samples", "Samples", grids=grids))
    if over := _over_iterations(report):
        sections.append(Section("iterations", "Over the iterations", grids=over))
    record = report.record
    command = f"{command_of(record)}\n\nwas first run as:\n{_given(record.environment)}"
    details = [("Command", command), *_details(record)]
    sections.append(Section("repeat", "Repeat it", details=details, note=MANIFEST))
    return Page(report.title, report.headline, sections, report.state)


def _grid(number: int, strips: Strips, learnt: Sequence[str], name: str = "samples") -> Grid:
    """With the first experience on the left of the viewer and the last on the right."""
    there = [heading for heading in learnt if heading in strips.columns]
    before, after = (there[0], there[-1]) if len(there) > 1 else ("bicubic", (there or [HIGH])[0])
    shapes = [image.shape for images in strips.columns.values() for image in images]
    height, width = (max(shape[axis] for shape in shapes) for axis in (0, 1))
    rows = [
        Tiles(
            f"{strips.label} {k + 1}",
            [data_address(c[k]) if k < len(c) else None for c in strips.columns.values()],
        )
        for k in range(strips.count)
    ]
    maps = MAPS if any(heading.startswith("error of") for heading in strips.columns) else ""
    return Grid(
        f"{name}-{number}",
        strips.label,
        list(strips.columns),
        rows,
        height,
        width,
        before,
        after,
        maps,
    )


def _over_iterations(report: Report) -> list[Grid]:
    """Each domain's sample images at some of the evaluations, the last of each experience too."""
    begun: dict[int, str] = {}  # by iteration, what was being learnt
    for line in report.record.metrics:
        begun[line["iteration"]] = str(line["trained_on"])
    iterations = sorted(begun)
    if len(iterations) < 3:
        return []
    ends = {max(i for i in iterations if begun[i] == name) for name in begun.values()}
    even = np.linspace(0, len(iterations) - 1, max(MOST_COLUMNS - len(ends), 2)).round()
    chosen = sorted(ends | {iterations[int(k)] for k in even})
    if len(chosen) <= len(ends):  # nothing between the ends
        return []
    columns = {f"{number:,} ({begun[number]})": f"iteration-{number:06d}" for number in chosen}
    strips = _run_strips(report, columns)
    left = len(iterations) - len(chosen)
    note = "Iterations, and what was learnt then." + (
        f" {left} more evaluations have their images in samples/." if left else ""
    )
    return [replace(_grid(k, s, list(columns), "iterations"), note=note)
            for k, s in enumerate(strips)]  # fmt: skip


def _given(environment: Mapping[str, Any]) -> str:
    """What was typed."""
    command = environment.get("command", [])
    return shlex.join(["cl-sr", *map(str, command[1:])]) if command else "not recorded"


def _details(record: Record) -> list[tuple[str, str]]:
    environment = record.environment
    facts = {k: v for k, v in environment.items() if k not in ("command", "metrics")}
    return [
        ("Environment and data", dump_yaml(facts)),
        ("Configuration", dump_yaml(record.config)),
    ]


def publish_comparisons(
    reports: Sequence[ComparisonReport], found: RunSet, commands: Sequence[str], out: Path
) -> list[str]:
    """Write a page, Markdown, CSV, tables and figures of comparisons into a folder.

    Args:
        reports: of comparisons, one a stream.
        found: what they are of.
        commands: what repeats them.
        out: the folder.

    Returns:
        the names of the files, the page first.

    Raises:
        OSError: the folder cannot be written.
    """
    several = len(reports) > 1
    title = found.title or reports[0].title
    headline = " ".join(
        f"{report.comparison.stream}: {report.headline}" if several else report.headline
        for report in reports
    )
    warning = ""
    if found.left_out:
        more = f"; and {len(found.left_out) - FEW} more" if len(found.left_out) > FEW else ""
        warning = f"Not all runs are in it: {'; '.join(found.left_out[:FEW])}{more}"
    sections, made = [], []
    texts = [f"# {title}", *([f"> **{warning}**"] if warning else []), headline]
    for report in reports:
        stream = report.comparison.stream
        prefix = f"{stream}-" if several else ""
        charts, pictures = [], []
        for name, (figure, caption) in _charts(report).items():
            _draw(figure, out / f"{prefix}{name}.png")
            if figure is not None:
                pictures.append(f"{prefix}{name}")
                charts.append(Chart(figures.svg(figure, f"{caption} {report.title}"), caption))
        tables = report.tables
        write_tables(tables, out / "tables" / stream if several else out / "tables")
        write_text(out / f"{prefix}comparison.csv", report.csv())
        texts.append(report.markdown(pictures))
        made += [f"{prefix}comparison.csv", *(f"{name}.png" for name in pictures)]
        sections.append(
            Section(f"{prefix}results", report.title, tables, charts, note=report.protocol)
        )
        if grids := _side_by_side(report.comparison, prefix):
            sections.append(Section(f"{prefix}samples", f"Samples, {stream}", grids=grids))
    runs = _runs(found, out)
    texts += [table.markdown() for table in runs.tables]
    texts += ["Repeat it:", "\n".join(f"    {command}" for command in commands)]
    first = reports[0].comparison.first
    details = [("Command", "\n".join(commands)), *_details(first.record)]
    note = f"Environment and configuration are those of {first.path.name}. {MANIFEST}"
    sections += [runs, Section("repeat", "Repeat it", details=details, note=note)]
    write_text(out / "report.md", "\n\n".join(texts) + "\n")
    write_text(out / "report.html", Page(title, headline, sections, warning).html())
    return ["report.html", "report.md", *made, "tables"]


def _charts(report: ComparisonReport) -> dict[str, tuple[Figure | None, str]]:
    """The figures of a comparison, with captions; None of one that it has no figures for."""
    rows = report.comparison.rows
    return {
        "trade-off": (
            figures.trade_off(rows, report.title),
            "What each forgot of the source, and its share of the gain on the target.",
        ),
        "curves": (
            figures.last_experience(rows, report.bicubic, report.title),
            "Every domain while the last one is learnt, of the rows that were evaluated meanwhile; "
            "dotted: bicubic upsampling.",
        ),
        "windows": (
            figures.by_window(rows, report.title),
            "At which noise the source was forgotten.",
        ),
    }


def _side_by_side(comparison: Comparison, prefix: str) -> list[Grid]:
    """Each row's final images of its first seed, as in the paper's figures."""
    if comparison.mixed:  # other images in each run
        return []
    firsts = {
        comparison.label(place): group[min(group)] for place, group in comparison.groups.items()
    }
    grids = []
    for number, domain in enumerate(comparison.domains):
        run = next(iter(firsts.values()))
        label = domain_labels(run.record.environment["data"])[domain]
        files = {
            name: run.record.path / "samples" / domain / f"after-{run.rows[-1]}.png"
            for name, run in firsts.items()
        }
        samples, size = run.record.path / "samples", run.setting("data.size")
        strips = read_strips(label, samples, domain, files, size)
        if strips.count:
            drawn = list(files)
            shown = strips.with_errors(drawn) if len(drawn) <= MOST_MAPS else strips
            grids.append(_grid(number, shown, drawn, f"{prefix}samples"))
    return grids


def _runs(found: RunSet, out: Path) -> Section:
    """Every run: what repeats it, and its own report."""
    links = []
    for run in found.runs:
        page = run.record.path / "report.html"
        inside = page.resolve().is_relative_to(out.resolve()) and page.is_file()
        if inside:
            links.append((run.path.name, page.resolve().relative_to(out.resolve()).as_posix()))
    rows = [
        [run.path.name, str(run.setting("strategy")), str(run.seed), _when(run)]
        for run in found.runs
    ]
    table = Table("Runs", ["run", "strategy", "seed", "code"], rows)
    text = "Each has a config.yaml, which `cl-sr run --config` repeats, and a report of its own."
    return Section("runs", "Runs", [table], note=text, links=links)


def _when(run: Finished) -> str:
    """The version and commit of the code."""
    environment = run.record.environment
    commit = environment.get("commit")
    return f"{environment.get('cl-sr', '?')}{f' ({commit})' if commit else ''}"
