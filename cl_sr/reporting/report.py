"""The forgetting report of one run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.text import Text

from cl_sr.errors import InputError
from cl_sr.evaluation.draws import draws_from_csv, spread
from cl_sr.evaluation.matrix import BICUBIC, FORGETTING, GAIN, INIT, ForgettingMatrix
from cl_sr.evaluation.statistics import Measured, difference
from cl_sr.evaluation.windows import WindowError, growth
from cl_sr.image_size import enlarged
from cl_sr.reporting.leak import leak_table
from cl_sr.reporting.tables import (
    Table,
    domain_labels,
    forgetting_table,
    matrix_table,
    metric_label,
    number,
)
from cl_sr.runs.evaluation import Evaluated, unfinished
from cl_sr.runs.record import Record


@dataclass(frozen=True)
class Report:
    """What a run found, as text and tables.

    Attributes:
        title: stream, strategy, and whether the images are stand-ins.
        state: a warning where the run did not finish; else empty.
        headline: the result in a sentence.
        protocol: everything that the figures depend on.
        tables: the matrices and the forgetting figures.
        record: of the run, that figures are drawn from.
        labels: what to call the domains.
    """

    title: str
    state: str
    headline: str
    protocol: str
    tables: list[Table]
    record: Record
    labels: dict[str, str]

    def show(self, console: Console) -> None:
        """Print for a terminal."""
        console.print()
        console.rule(Text(self.title), align="left")
        if self.state:
            console.print(Text(self.state, style="bold red"))
        for table in self.tables:
            table.show(console)
        console.print(Text(self.protocol, style="dim"))
        console.print(Text(self.headline, style="bold"))

    def markdown(self, pictures: Sequence[str], command: str) -> str:
        """With pictures by name, and the command that repeats the run."""
        parts = [f"# {self.title}"]
        parts += [f"> **{self.state}**"] if self.state else []
        parts += [self.headline]
        parts += [table.markdown() for table in self.tables]
        parts += [self.protocol]
        parts += [f"![{name}]({name}.png)" for name in pictures]
        parts += [f"Repeat this run: `{command}`"]
        return "\n\n".join(parts) + "\n"


def build_report(record: Record) -> Report:
    """What a run has measured so far.

    Raises:
        InputError: the folder's files are absent or damaged.
    """
    try:
        return _report(record)
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{record.path} is damaged or incomplete ({type(error).__name__}: {error}): "
            "repeat the run from its config.yaml"
        ) from error


def _report(record: Record) -> Report:
    matrices, images, data = record.matrices, record.images, record.environment["data"]
    _check_images(images, matrices)
    labels = domain_labels(data)
    standins = any(domain["source"] == "stand-in" for domain in data.values())
    # A run that trains nothing, such as DDNM with a given prior.
    initial = "before training" if record.status["of"] else "zero-shot"
    tables = [matrix_table(matrix, labels, initial, images) for matrix in matrices]
    if matrices and matrices[0].learnt:
        tables.append(forgetting_table(matrices, labels, images))
    if record.windows and (changes := _window_table(record.windows, labels)).rows:
        tables.append(changes)
    if record.folder.has("draws.csv") and matrices:
        tables.append(_spread_table(record, matrices, labels, initial))
    if any(domain.get("leaked") for domain in data.values()) and matrices:
        last, measured = [*matrices[0].rows][-1], {}
        for domain, label in labels.items():
            ours, bicubic = (images.get((row, domain), {}).get("psnr") for row in (last, BICUBIC))
            if ours and bicubic:
                measured[label] = *record.hashes[domain], ours, bicubic
        tables.append(leak_table(measured))
    return Report(
        title=f"{record.config['stream']}, {record.strategy}"
        + (", stand-in images" * standins)
        + (f", evaluation {record.name}" if isinstance(record, Evaluated) else ""),
        state=unfinished(record),
        headline=_headline(matrices, labels, images),
        protocol=_protocol(record),
        tables=tables,
        record=record,
        labels=labels,
    )


def _check_images(images: Measured, matrices: Sequence[ForgettingMatrix]) -> None:
    """Refuse images whose means are not those of the matrix.

    Raises:
        ValueError: they are not.
    """
    for (after, domain), values in images.items():
        for matrix in matrices:
            told = matrix.rows.get(after, {}).get(domain)
            found = values.get(matrix.metric)
            if told is not None and found and not math.isclose(fmean(found), told, abs_tol=1e-6):
                raise ValueError(f"images.csv does not agree with matrix.csv: {after}, {domain}")


def _window_table(errors: Sequence[WindowError], labels: Mapping[str, str]) -> Table:
    """How much larger each domain's denoising error got since it was learnt, by time-steps."""
    found = {(e.after, e.domain, e.start, e.stop): e.error for e in errors}
    windows = sorted({(e.start, e.stop) for e in errors})
    rows = []
    last = errors[-1].after
    for domain in dict.fromkeys(e.domain for e in errors):
        if domain == last:
            continue
        changes = [
            growth(found.get((last, domain, *window)), found.get((domain, domain, *window)))
            for window in windows
        ]
        if not all(map(math.isnan, changes)):
            cells = [number("psnr", change, sign=True) for change in changes]
            rows.append([labels.get(domain, domain), *cells])
    head = ["domain", *(f"t {start}-{stop}" for start, stop in windows)]
    return Table(
        "Denoising error since a domain was learnt, by time-steps: change in dB", head, rows
    )


def _spread_table(
    record: Record,
    matrices: Sequence[ForgettingMatrix],
    labels: Mapping[str, str],
    initial: str,
) -> Table:
    """How far the draws of an image lie apart."""
    draws = draws_from_csv(record.folder.read_text("draws.csv"))
    rows = []
    for after in dict.fromkeys(after for after, _ in draws):
        for matrix in matrices:
            cells = [
                number(matrix.metric, spread(draws[after, domain][matrix.metric]))
                for domain in labels
            ]
            name = initial if after == INIT else f"after {after}"
            rows.append([name, metric_label(matrix.metric), *cells])
    count = record.settings["eval"]["draws"]
    title = f"Spread of an image's {count} draws, standard deviation"
    return Table(title, ["", "metric", *labels.values()], rows)


def _headline(matrices: list[ForgettingMatrix], labels: dict[str, str], images: Measured) -> str:
    if not matrices:
        return "Nothing was evaluated, or matrix.csv is gone."
    matrix = matrices[0]

    def told(figure: str, domain: str, sign: bool = True) -> str:
        ends = matrix.ends(figure, domain)
        return difference(matrix, images, {domain: ends}).text(2, sign=sign) + " dB"

    if not matrix.previous:
        after = [*matrix.rows][-1]
        gains = [
            f"{labels[d]} {difference(matrix, images, {d: (BICUBIC, after)}).text(2, sign=True)} dB"
            for d in matrix.domains
        ]
        return (
            "No domain was learnt before another yet: nothing can be forgotten. "
            f"Over bicubic: {', '.join(gains)}."
        )
    first, *_, last = (after.split("+") for after in matrix.learnt)
    gained = " and ".join(f"{labels[d]} gained {told(GAIN, d)}" for d in last)
    forgot = ", ".join(
        f"{labels[d]} forgot {told(FORGETTING, d, sign=False)}"
        + ("" if d in first else " since it was learnt")
        for d in matrix.previous
    )
    return f"Since {' and '.join(labels[d] for d in first)} was learnt, {gained}; {forgot}."


def _protocol(record: Record) -> str:
    config, data = record.settings, record.environment["data"]
    images, evaluation = config["data"], config["eval"]
    counts = ", ".join(f"{r['domain']} {r['n']}" for r in _last(record.metrics)) or "none"
    grey = ", grey" if images["channels"] == 1 else ""
    origins = sorted({domain["source"] for domain in data.values()})
    count = evaluation["draws"]
    draws = f", mean of {count} draws an image" if count > 1 else ""
    elsewhere = record.elsewhere if isinstance(record, Evaluated) else []
    last = record.metrics[-1] if record.metrics else evaluation
    own = last["sampler"] == evaluation["sampler"]  # not that of a prior with a schedule of its own
    of = f" of {config['diffusion']['steps']}" if own else ""
    steps = last["steps"] or config["diffusion"]["steps"]
    return (
        f"Protocol {evaluation['protocol']}; low resolution: {images['kernel']}, "
        f"x{images['scale']} ({enlarged(images['size'], images['scale'])}{grey}); "
        f"sampler {last['sampler']}, {steps}{of} steps, "
        f"noise seeds from {evaluation['seed']}{draws}; {evaluation['split']} images: "
        f"{counts} ({', '.join(elsewhere or origins)}); "
        f"{'split at random by file; ' if images['split'] == 'random' else ''}"
        f"training seed {config['seed']}.{_oddities(data)}{_lineage(record)}\n"
        "After a plus or minus: half of the 95 % confidence interval (bootstrap over images, "
        "differences paired). "
        "Gain: just after learning the domain - just after the first one (of the first: - before "
        "training). Forgetting: just after learning the domain - final (minus backward transfer, "
        "BWT). From best: the best after any training - final. Vs bicubic: final - bicubic. "
        "Positive is better, whatever the metric's direction; but forgetting and from best are "
        "losses."
    )


def _lineage(record: Record) -> str:
    """Which run it goes on from, and what is not as if it had been planned so from the start."""
    parent = record.environment.get("parent")
    if not parent:
        return ""
    learnt = ", ".join(
        f"{domain} for {count}"
        for domain, count in zip(parent["domains"], parent["iterations"], strict=True)
    )
    title = f" Goes on from the run {parent['path']} ({learnt} iterations)."
    return title + "".join(f" {note[:1].upper()}{note[1:]}." for note in parent["notes"])


def _last(metrics: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The last record of each domain."""
    return list({record["domain"]: record for record in metrics}.values())


def _oddities(data: dict[str, Any]) -> str:
    """What was found in the folders beside good and distinct images."""
    found = []
    for name, domain in data.items():
        leaked = domain.get("leaked", 0)
        copies = f"{leaked} in training and testing" if leaked else "kept on one side"
        if domain["duplicates"] or domain["unreadable"]:
            found.append(
                f" {name}: {domain['duplicates']} exact copies ({copies}), "
                f"{domain['unreadable']} unreadable files (skipped)."
            )
        if left_out := domain.get("left_out"):  # unknown to runs of old
            found.append(
                f" {name}: {sum(left_out.values())} files of {', '.join(left_out)} were left "
                "out (the same images at other sizes)."
            )
    return "".join(found)
