"""`cl-sr report`: the tables and figures of a run that was made before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cl_sr.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from cl_sr.runs.record import Record


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--evaluation", metavar="NAME", help="What `cl-sr eval` has found, by its name.")
def command(run: Path, evaluation: str | None) -> None:
    """Show the report of a run or a sweep again, and write its page, tables and figures anew."""
    from rich.console import Console

    from cl_sr.runs.evaluation import Evaluated
    from cl_sr.runs.record import Record
    from cl_sr.sweeps.folder import is_sweep

    if is_sweep(run):
        present_sweep(run, evaluation, Console(stderr=True, markup=False, soft_wrap=True))
        return
    if run.is_dir() and not (run / "status.json").is_file() and any(run.glob("*/status.json")):
        raise InputError(f"{run} is a folder of runs: cl-sr compare {run} --out DIR")
    record = Record(run)
    present(
        record if evaluation is None else Evaluated(run, evaluation),
        Console(markup=False, highlight=False),
    )


def present_sweep(sweep: Path, evaluation: str | None, messages: Console) -> None:
    """Compare a sweep's runs, and write it into the sweep, or beside it for an evaluation."""
    from cl_sr.cli.compare import compare_and_show
    from cl_sr.runs.evaluation import folder_of

    out = sweep if evaluation is None else folder_of(sweep, evaluation)
    compare_and_show([sweep], (), out, messages, evaluation)


def present(record: Record, console: Console) -> list[str]:
    """Write a run's report and show it: neither a full disk nor a terminal hides the other.

    Returns:
        the names of the files.
    """
    from cl_sr.reporting import build_report, publish_run

    report = build_report(record)
    names, unwritten = [], None
    try:
        names = publish_run(report)
    except OSError as error:
        unwritten = error
    report.show(console)
    if unwritten is not None:
        raise InputError(f"the report is shown but not written: {unwritten}") from unwritten
    return names
