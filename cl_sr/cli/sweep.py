"""`cl-sr sweep`: many runs from one file, and their comparison."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cl_sr.cli.compare import compare_and_show
from cl_sr.errors import InputError
from cl_sr.files import check_writable

if TYPE_CHECKING:
    from cl_sr.sweeps.runner import Job


@click.command("sweep")
@click.argument("name", metavar="NAME|FILE")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--data",
    multiple=True,
    metavar="DIR|DOMAIN=DIR",
    help="Real images, as for `cl-sr run`. Default: $CL_SR_DATA, or stand-ins drawn by code.",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), help="Where to run.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="The sweep's folder (default: runs/NAME)."
)
@click.option(
    "--sources",
    type=click.Path(path_type=Path),
    help="A folder of trained first domains that several sweeps share (default: in --out).",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 1024),
    help="Runs at a time (default: one a GPU, or one). They share the cores.",
)
@click.option("--dry-run", is_flag=True, help="Check everything, list the runs, stop.")
def command(
    name: str,
    overrides: tuple[str, ...],
    data: tuple[str, ...],
    device: str | None,
    out: Path | None,
    sources: Path | None,
    jobs: int | None,
    dry_run: bool,
) -> None:
    """Run every combination of a grid, then compare them.

    What is finished is kept and what was stopped is taken up: the same command goes on with it.
    Runs that begin alike share their training on the first domain. KEY=VALUE is put over every
    run; of a key that the grid varies, it is the value, or list of values, to take.

    \b
    cl-sr sweep small/time-steps --data DIR
    cl-sr sweep small/time-steps seed=0 --jobs 2
    cl-sr sweep ./mine.yaml train.iterations=[5000,1000] --out runs/longer
    """
    from rich.console import Console

    from cl_sr.runs.plan import check_all
    from cl_sr.sweeps import read_sweep
    from cl_sr.sweeps.folder import check_folder, taken
    from cl_sr.sweeps.runner import State, gpu_count, jobs_of

    sweep = read_sweep(name, data=data, device=device, overrides=overrides)
    out = out or Path("runs") / re.sub(r"[^\w-]+", "-", re.sub(r"\.ya?ml$", "", name)).strip("-")
    messages = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    check_folder(sweep, out)
    if sources:
        check_writable(sources)
    check_all([member.config for member in sweep.members])
    with messages.status("looking at the images"):
        todo = jobs_of(sweep.members, out, sources)
    finished = sum(job.state is State.FINISHED for job in todo)
    messages.print(
        f"{sweep.title or name}: {len(todo)} runs, {finished} of them finished, in {out}"
    )
    if dry_run:
        for job in todo:
            after = f", after {job.needs.name}" if job.needs else ""
            click.echo(f"{job.name}: {job.state.value}{after}")
        return
    with taken(sweep, out, _typed()):
        signum = _run(todo, out, jobs or max(1, gpu_count()), messages)
    failed = [job for job in todo if job.state is State.FAILED]
    for job in failed:
        messages.print(f"failed: {job.name}: {job.reason}", style="red")
    if signum is not None:
        messages.print("Stopped. The same command goes on with it.")
        raise SystemExit(128 + signum)
    members = {member.name for member in sweep.members}
    if not any(job.name in members and job.state is State.FINISHED for job in todo):
        raise InputError(f"all runs have failed; {out}/logs has what they said")
    compare_and_show([out], (), out, messages)
    if failed:
        messages.print(
            f"{len(failed)} of {len(todo)} runs have failed; the same command tries them again",
            style="red",
        )
        raise SystemExit(1)


def _typed() -> str:
    """The command, with the variable that says where its images are."""
    where = os.environ.get("CL_SR_DATA")
    given = f"CL_SR_DATA={shlex.quote(where)} " if where else ""
    return given + shlex.join(["cl-sr", *sys.argv[1:]])


def _run(todo: Sequence[Job], out: Path, at_once: int, messages: Any) -> int | None:
    """Run all; the signal that stopped it."""
    from cl_sr.stopping import StopRequest
    from cl_sr.sweeps.progress import SweepProgress
    from cl_sr.sweeps.runner import run_jobs

    with SweepProgress(todo, messages) as progress, StopRequest().listening() as stop:
        run_jobs(todo, out, at_once, progress.changed, progress.look, stop)
        return stop.signum
