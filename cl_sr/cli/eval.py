"""`cl-sr eval`: the saved states of runs judged again."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from cl_sr.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from cl_sr.runs.evaluation import EvaluationPlan


@click.command("eval")
@click.argument("run", metavar="RUN|SWEEP", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--after", metavar="DOMAIN", help="One state, after this domain (default: all).")
@click.option(
    "--data",
    multiple=True,
    metavar="DIR|DOMAIN=DIR",
    help="Other images, of which the test side is taken; or the run's own, where they have moved. "
    "May be repeated.",
)
@click.option("--name", help="Of the evaluation (default: what differs, such as steps-50).")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), help="Where to run.")
@click.option(
    "--jobs",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="Runs of a sweep at a time. They share the cores, and each has a GPU of several.",
)
@click.option("--overwrite", is_flag=True, help="Replace an evaluation of this name.")
def command(
    run: Path,
    overrides: tuple[str, ...],
    after: str | None,
    data: tuple[str, ...],
    name: str | None,
    device: str | None,
    jobs: int,
    overwrite: bool,
) -> None:
    """Judge the saved states of RUN again: other sampling, metrics, images.

    KEY=VALUE is any of the keys eval.*; the others are the run's own, and nothing is trained. What
    is found goes to RUN/evaluations/NAME and never over the run. The same command goes on after a
    stop; `cl-sr report` and `cl-sr compare` show it with --evaluation NAME.

    \b
    cl-sr eval runs/NAME eval.steps=50
    cl-sr eval runs/NAME eval.sampler=ancestral eval.steps=null --after celeba
    cl-sr eval runs/NAME --data celeba=DIR eval.metrics=lpips --name elsewhere
    cl-sr eval runs/SWEEP eval.steps=50
    """
    from rich.console import Console

    from cl_sr.runs.evaluation import plan_evaluation, read_overrides
    from cl_sr.sweeps.evaluations import members_to_judge

    messages = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    given = [*overrides, *([f"device={device}"] if device else [])]
    read_overrides(given)
    runs, left_out = members_to_judge(run)
    plans: list[EvaluationPlan] = []
    for path in runs:
        try:
            plans.append(
                plan_evaluation(path, given, data=data, after=after, name=name, overwrite=overwrite)
            )
            name = plans[0].name  # one for all
        except InputError as error:
            if runs == [run]:
                raise
            left_out.append(str(error))
    runs = [plan.record.path for plan in plans]
    if not plans:
        raise InputError(f"nothing of {run} can be judged: {left_out[0]}")
    for why in left_out:
        messages.print(f"left out: {why}", style="yellow")
    if overwrite:
        for plan in plans:
            plan.clear()
    for note in dict.fromkeys(note for plan in plans for note in plan.notes):
        messages.print(note, style="yellow")
    if jobs > 1 and len(plans) > 1:
        after_given = ["--after", after] if after else []
        options = (*given, *(f"--data={item}" for item in data), *after_given)
        plans = _judge_all(run, plans, options, jobs, messages)
    else:
        for plan in plans:
            _judge(plan, messages)
    _present(run, plans, messages)
    if len(plans) < len(runs):  # some have failed
        raise SystemExit(1)


def _judge(plan: EvaluationPlan, messages: Console) -> None:
    """Judge one run in this process."""
    from cl_sr import api
    from cl_sr.stopping import Stopped, StopRequest

    if not plan.todo:
        messages.print(f"{plan.path} is there already (--overwrite judges again)")
        return
    try:
        with api.quiet(), api.explained(plan.path):
            with messages.status("starting (torch and Avalanche take some seconds)"):
                from cl_sr.runs.judging import judge
                from cl_sr.runs.progress import JudgingLogger, tracker
            there = len(plan.states) - len(plan.todo)
            skipped = f", {there} of them there already" if there else ""
            messages.print(f"{plan.path}: {len(plan.states)} states{skipped}")
            with (
                JudgingLogger(messages, len(plan.todo)) as progress,
                StopRequest().listening() as stop,
            ):
                judge(plan, loggers=[progress], stop=stop, tracker=tracker(messages))
    except KeyboardInterrupt as error:
        signum = error.signum if isinstance(error, Stopped) else signal.SIGINT
        _stopped(signum, messages)


def _judge_all(
    run: Path,
    plans: list[EvaluationPlan],
    given: tuple[str, ...],
    jobs: int,
    messages: Console,
) -> list[EvaluationPlan]:
    """Judge several runs at a time; those that could be judged."""
    from cl_sr.runs.evaluation import folder_of
    from cl_sr.stopping import StopRequest
    from cl_sr.sweeps.evaluations import Judging
    from cl_sr.sweeps.progress import SweepProgress
    from cl_sr.sweeps.runner import State, run_jobs

    todo = [Judging.of(plan, given) for plan in plans]
    out = folder_of(run, plans[0].name)
    with SweepProgress(todo, messages) as progress, StopRequest().listening() as stop:
        run_jobs(todo, out, jobs, progress.changed, progress.look, stop)
    if stop.signum is not None:
        _stopped(stop.signum, messages)
    finished = [job.state is State.FINISHED for job in todo]
    if not any(finished):
        raise InputError(f"nothing of {run} could be judged; {out}/logs has what was said")
    return [plan for plan, done in zip(plans, finished, strict=True) if done]


def _stopped(signum: int, messages: Console) -> NoReturn:
    messages.print("Stopped. The same command goes on with it.")
    raise SystemExit(128 + signum)


def _present(run: Path, plans: list[EvaluationPlan], messages: Console) -> None:
    """Write each one's report; show that of a run, or the comparison of a sweep's."""
    from rich.console import Console

    from cl_sr.cli.report import present, present_sweep
    from cl_sr.reporting import build_report, publish_run
    from cl_sr.runs.evaluation import Evaluated
    from cl_sr.sweeps.folder import is_sweep

    found = [Evaluated(plan.record.path, plan.name) for plan in plans]
    if plans[0].record.path == run:
        results = Console(markup=False, highlight=False)
        made = present(found[0], results)
        results.print(f"Everything is in {found[0].path}: {', '.join(made)}", soft_wrap=True)
        return
    for record in found:
        publish_run(build_report(record))
    name = plans[0].name
    if is_sweep(run) and not any(plan.only for plan in plans):
        present_sweep(run, name, messages)
    else:
        messages.print(f"judged {len(found)} runs; `cl-sr compare {run} --evaluation {name}`")
