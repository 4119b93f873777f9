"""`cl-sr report`: the tables and figures of a run that was made before."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
def command(run: Path) -> None:
    """Show the forgetting report of the folder RUN, and write its report.md and figures anew."""
    from rich.console import Console

    from cl_sr.reporting import write_report
    from cl_sr.training.run_folder import RunFolder

    write_report(RunFolder.open(run)).show(Console())
