"""`cl-sr runs`: what has been run, how far it came, and what it found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cl_sr.errors import InputError


@click.command("runs")
@click.argument("folder", default="runs", type=click.Path(path_type=Path))
def command(folder: Path) -> None:
    """List the runs in FOLDER (default: runs), at most two folders down, and what they found."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not folder.is_dir():
        raise InputError(f"no folder {folder}: `cl-sr run` makes one, or name another")
    # Not all the way down: a folder may hold anything beside runs.
    files = [file for depth in ("", "*/", "*/*/") for file in folder.glob(f"{depth}status.json")]
    found = sorted(filter(Path.is_file, files), key=lambda path: path.stat().st_mtime)
    if not found:
        raise InputError(f"no runs below {folder}")
    table = Table("run", "stream, strategy", "state", "PSNR of each domain (dB)")
    for status in found:
        # Text, as names may hold square brackets, which are not meant as markup.
        cells = _row(status.parent, folder)
        table.add_row(*(Text(cell.encode("utf-8", "replace").decode()) for cell in cells))
    console = Console()
    console.print(table)


def _row(path: Path, base: Path) -> list[str]:
    from cl_sr.runs.record import Record

    name = str(path.relative_to(base)) if path != base else path.name
    try:
        record = Record(path)
        what = f"{record.config['stream']}, {record.strategy}, seed {record.config['seed']}"
        latest = {line["domain"]: line["psnr"] for line in record.metrics}
        numbers = ", ".join(f"{domain} {value:.2f}" for domain, value in latest.items())
        if record.state == "failed":
            numbers = ""  # no result
        return [name, what, _state(record.state, record.status), numbers or "-"]
    except InputError as error:
        return [name, "-", str(error), "-"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return [name, "-", f"damaged: {type(error).__name__}: {error}", "-"]


def _state(state: str, status: dict[str, Any]) -> str:
    place = f"{status['iteration']} of {status['of']}"
    if state == "finished":
        return f"finished, {status['of']} iterations"
    if state == "failed":
        return f"failed at {place}: {status.get('reason', 'no reason given')}"
    return f"running, {place}" if state == "running" else f"interrupted at {place}"
