"""`cl-sr report`: the tables and figures of a run that was made before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cl_sr.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
def command(run: Path) -> None:
    """Show the report of a run or a sweep again, and write its page, tables and figures anew."""
    from rich.console import Console

    from cl_sr.cli.compare import compare_and_show
    from cl_sr.sweeps.folder import is_sweep

    if is_sweep(run):
        compare_and_show([run], (), run, Console(stderr=True, markup=False, soft_wrap=True))
        return
    if run.is_dir() and not (run / "status.json").is_file() and any(run.glob("*/status.json")):
        raise InputError(f"{run} is a folder of runs: cl-sr compare {run} --out DIR")

    present(run, Console(markup=False, highlight=False))


def present(path: Path, console: Console) -> list[str]:
    """Write a run's report and show it: neither a full disk nor a terminal hides the other.

    Returns:
        the names of the files.
    """
    from cl_sr.reporting import build_report, publish_run
    from cl_sr.runs.record import Record

    report = build_report(Record(path))
    names, unwritten = [], None
    try:
        names = publish_run(report)
    except OSError as error:
        unwritten = error
    report.show(console)
    if unwritten is not None:
        raise InputError(f"the report is shown but not written: {unwritten}") from unwritten
    return names
