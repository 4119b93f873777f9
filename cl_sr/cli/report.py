"""`cl-sr report`: the tables and figures of a run that was made before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cl_sr.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from cl_sr.training.run_folder import RunFolder


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
def command(run: Path) -> None:
    """Show the forgetting report of the folder RUN, and write its report.md and figures anew."""
    from rich.console import Console

    from cl_sr.training.run_folder import RunFolder

    present(RunFolder.open(run), Console(markup=False, highlight=False))


def present(folder: RunFolder, console: Console) -> list[str]:
    """Show a run's report, then write it: a full disk does not hide the figures.

    Returns:
        the names of the files.
    """
    from cl_sr.reporting import build_report, publish_run

    report = build_report(folder)
    report.show(console)
    try:
        return publish_run(folder, report)
    except OSError as error:
        raise InputError(f"the report is shown but not written: {error}") from error
