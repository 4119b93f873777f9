"""The forgetting report of one run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import yaml
from rich.console import Console
from rich.text import Text

from cl_sr.errors import InputError
from cl_sr.evaluation.bootstrap import Figure
from cl_sr.evaluation.matrix import BICUBIC, ForgettingMatrix
from cl_sr.evaluation.windows import WindowError, errors_from_csv, growth
from cl_sr.reporting.leak import leak_table
from cl_sr.reporting.tables import (
    Measured,
    Table,
    difference,
    domain_labels,
    forgetting_table,
    matrix_table,
    number,
)
from cl_sr.training.run_folder import RunFolder


@dataclass(frozen=True)
class Report:
    """What a run found, as text and tables.

    Attributes:
        title: stream, strategy, and whether the images are stand-ins.
        state: a warning where the run did not finish; else empty.
        headline: the result in a sentence.
        protocol: everything that the figures depend on.
        tables: the matrices and the forgetting figures.
        matrices, records, labels: what the figures are drawn from.
        environment, config: where and how it was run.
    """

    title: str
    state: str
    headline: str
    protocol: str
    tables: list[Table]
    matrices: list[ForgettingMatrix]
    records: list[dict[str, Any]]
    labels: dict[str, str]
    environment: dict[str, Any]
    config: dict[str, Any]

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


def build_report(folder: RunFolder) -> Report:
    """What a run has measured so far.

    Raises:
        InputError: the folder's files are absent or damaged.
    """
    try:
        config = yaml.safe_load((folder.path / "config.yaml").read_text("utf-8"))
        environment, status = folder.read_json("env.json"), folder.read_json("status.json")
        return _report(config, environment, status, folder)
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{folder.path} is damaged or incomplete ({type(error).__name__}: {error}): "
            "repeat the run from its config.yaml"
        ) from error


def _report(
    config: dict[str, Any],
    environment: dict[str, Any],
    status: dict[str, Any],
    folder: RunFolder,
) -> Report:
    matrices, records = folder.matrices(), list(folder.metrics())
    images = folder.images() if folder.has("images.csv") else {}
    _check_images(images, matrices)
    windows = []
    if folder.has("windows.csv"):
        windows = list(errors_from_csv(folder.read_text("windows.csv")))
    labels = domain_labels(environment["data"])
    standins = any(data["source"] == "stand-in" for data in environment["data"].values())
    # A run that trains nothing, such as DDNM with a given prior.
    initial = "before training" if status["of"] else "zero-shot"
    tables = [matrix_table(matrix, labels, initial, images) for matrix in matrices]
    if matrices and matrices[0].learnt:
        tables.append(forgetting_table(matrices, labels, images))
    if windows and (changes := _window_table(windows, labels)).rows:
        tables.append(changes)
    if any(data.get("leaked") for data in environment["data"].values()) and matrices:
        last, sides, measured = [*matrices[0].rows][-1], folder.hashes(), {}
        for domain, label in labels.items():
            ours, bicubic = (images.get((row, domain), {}).get("psnr") for row in (last, BICUBIC))
            if ours and bicubic:
                measured[label] = *sides[domain], ours, bicubic
        tables.append(leak_table(measured))
    return Report(
        title=f"{config['stream']}, {config['strategy']}" + (", stand-in images" * standins),
        state=_state(status, folder.locked),
        headline=_headline(matrices, labels, images),
        protocol=_protocol(config, environment, records),
        tables=tables,
        matrices=matrices,
        records=records,
        labels=labels,
        environment=environment,
        config=config,
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


def _state(status: dict[str, Any], locked: bool) -> str:
    state = status["state"]
    if state == "finished":
        return ""
    if state == "running" and not locked:  # it was killed
        state = "interrupted"
    reason = f": {status['reason']}" if "reason" in status else ""
    return f"Unfinished run: {state} at iteration {status['iteration']} of {status['of']}{reason}"


def _headline(matrices: list[ForgettingMatrix], labels: dict[str, str], images: Measured) -> str:
    if not matrices:
        return "Nothing was evaluated, or matrix.csv is gone."
    matrix = matrices[0]

    def change(domains: Sequence[str], ends: Callable[[str], tuple[str, str]]) -> Figure:
        return difference(matrix, images, {d: ends(d) for d in domains})

    if not matrix.previous:
        after = [*matrix.rows][-1]
        gains = [
            f"{labels[d]} {change([d], lambda _: (BICUBIC, after)).text(2, sign=True)} dB"
            for d in matrix.domains
        ]
        return (
            "No domain was learnt before another yet: nothing can be forgotten. "
            f"Over bicubic: {', '.join(gains)}."
        )
    last = matrix.learnt[-1].split("+")
    changes = [
        f"{labels[d]} changed by "
        f"{change([d], lambda d: (matrix.when(d), matrix.last)).text(2, sign=True)} dB"
        for d in matrix.previous
    ]
    gain = change(last, lambda d: (matrix.before(d), matrix.when(d)))
    return (
        f"Learning {' and '.join(labels[d] for d in last)} changed it by "
        f"{gain.text(2, sign=True)} dB; meanwhile {', '.join(changes)}."
    )


def _protocol(
    config: dict[str, Any], environment: dict[str, Any], records: list[dict[str, Any]]
) -> str:
    data, evaluation = config["data"], config["eval"]
    images = {record["domain"]: record["n"] for record in records}
    counts = ", ".join(f"{name} {n}" for name, n in images.items()) or "none"
    sources = sorted({domain["source"] for domain in environment["data"].values()})
    last = records[-1] if records else evaluation
    own = last["sampler"] == evaluation["sampler"]  # not that of a prior with a schedule of its own
    of = f" of {config['diffusion']['steps']}" if own else ""
    steps = last["steps"] or config["diffusion"]["steps"]
    return (
        f"Protocol {evaluation['protocol']}; low resolution: {data['kernel']}, "
        f"x{data['scale']} ({data['size'] // data['scale']} to {data['size']} px); "
        f"sampler {last['sampler']}, {steps}{of} steps, "
        f"noise seeds from {evaluation['seed']}; {evaluation.get('split', 'test')} images: "
        f"{counts} ({', '.join(sources)}); "
        f"{'split at random by file; ' if data.get('split') == 'random' else ''}"
        f"training seed {config['seed']}.{_oddities(environment['data'])}\n"
        "After a plus or minus: half of the 95 % confidence interval (bootstrap over images, "
        "differences paired). "
        "Gain: just after learning the domain - just before. BWT: final - just after. "
        "Forgetting: best earlier row - final. Vs bicubic: final - bicubic. Positive is better "
        "(whatever the metric's direction), but for forgetting, where it is a loss."
    )


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
    return "".join(found)
