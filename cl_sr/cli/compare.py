"""`cl-sr compare`: several runs side by side."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cl_sr.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option(
    "--by",
    multiple=True,
    metavar="KEY",
    help="A configuration key that tells rows apart, beside the strategy. May be repeated.",
)
@click.option(
    "--evaluation", metavar="NAME", help="Compare what `cl-sr eval` has found, by its name."
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="A folder for the report, tables and figures."
)
def command(
    runs: tuple[Path, ...], by: tuple[str, ...], evaluation: str | None, out: Path | None
) -> None:
    """Compare strategies: what each forgot, learnt and took, against plain fine-tuning.

    RUN is a run, a folder of runs, or a sweep. Runs that differ in their seeds alone are averaged.
    Shares and intervals are paired with the runs of `finetune` of the same seeds.

    \b
    cl-sr compare runs/celeba-anime-*
    cl-sr compare runs/forgetting --out comparison
    cl-sr compare runs/few runs/many --by train.iterations
    """
    from rich.console import Console

    messages = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    compare_and_show(runs, by, out, messages, evaluation)


def compare_and_show(
    paths: Sequence[Path],
    by: Sequence[str],
    out: Path | None,
    messages: Console,
    evaluation: str | None = None,
) -> None:
    """Compare the runs in `paths`, or evaluations of them, show it, and write it to `out`."""
    options = [*(f"--by={key}" for key in by)]
    options += [f"--evaluation={evaluation}"] if evaluation is not None else []
    command = shlex.join(["cl-sr", "compare", *map(str, paths), *options, "--out", str(out)])
    from rich.console import Console

    from cl_sr.config import check_key
    from cl_sr.sweeps.finished import find_runs

    for key in by:
        check_key(key)
        if key == "seed":
            raise InputError("--by seed: runs that differ in their seeds alone are averaged")
    if out is not None and (out / "status.json").exists():
        raise InputError(f"{out} is a run, with a report of its own: choose another --out")
    found = find_runs(paths, evaluation)
    from cl_sr.reporting.comparison import ComparisonReport
    from cl_sr.reporting.publish import publish_comparisons
    from cl_sr.sweeps.comparison import compare

    for why in found.left_out:
        messages.print(f"left out: {why}")
    reports = [ComparisonReport(comparison) for comparison in compare(found, by)]
    for report in reports:
        comparison = report.comparison
        if not comparison.has_baseline:
            messages.print("no run of finetune is among them: shares and differences are blank")
        for run in comparison.apart:
            messages.print(f"{run} began the second domain from other weights than the baseline")
        report.show(Console(markup=False, highlight=False))
    if out is None:
        return
    try:
        # A sweep's own report says what makes its runs; any other, what makes the comparison.
        typed = found.commands if list(paths) == [out] else ()
        made = publish_comparisons(reports, found, typed or (command,), out)
    except OSError as error:
        raise InputError(f"cannot write to {out}: {error}; choose another --out") from error
    messages.print(f"Everything is in {out}: {', '.join(made)}")
