"""`cl-sr compare`: several runs side by side."""

from __future__ import annotations

from pathlib import Path

import click

from cl_sr.errors import InputError
from cl_sr.files import write_text


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="A folder for comparison.md, .csv and figures."
)
def command(runs: tuple[Path, ...], out: Path | None) -> None:
    """Compare strategies: what each forgot, learnt and took, against plain fine-tuning.

    RUN is a run, or a folder of runs. Runs of one strategy with several seeds are averaged. Shares
    and intervals are paired with the runs of `finetune` of the same seeds.

    \b
    cl-sr compare runs/celeba-anime-*
    cl-sr compare runs/forgetting --out comparison
    """
    from rich.console import Console

    from cl_sr.reporting.comparison import Comparison, find_runs
    from cl_sr.reporting.figures import by_window, last_experience, trade_off

    found, left_out = find_runs(runs)
    for why in left_out:
        click.echo(f"left out: {why}", err=True)
    comparison = Comparison(found)
    if not comparison.baseline:
        click.echo("no run of finetune is among them: shares and differences are blank", err=True)
    for run in comparison.apart:
        click.echo(f"{run} began the second domain from other weights than finetune", err=True)
    comparison.show(Console(markup=False, highlight=False))
    if out is None:
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        trade_off(comparison.rows, comparison.title, out / "trade-off.png")
        by_window(comparison.rows, comparison.title, out / "windows.png")
        last_experience(comparison.rows, comparison.title, out / "curves.png")
        names = ("trade-off", "curves", "windows")
        pictures = [name for name in names if (out / f"{name}.png").exists()]
        write_text(out / "comparison.md", comparison.markdown(pictures))
        write_text(out / "comparison.csv", comparison.csv())
    except OSError as error:
        raise InputError(f"cannot write to {out}: {error}; choose another --out") from error
    click.echo(f"Everything is in {out}: comparison.md, comparison.csv, figures", err=True)
