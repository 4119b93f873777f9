"""`cl-sr eval`: the saved states of runs judged again."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

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
@click.option("--overwrite", is_flag=True, help="Replace an evaluation of this name.")
def command(
    run: Path,
    overrides: tuple[str, ...],
    after: str | None,
    data: tuple[str, ...],
    name: str | None,
    device: str | None,
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

    from cl_sr.runs.evaluation import plan_evaluation
    from cl_sr.sweeps.evaluations import members_to_judge

    messages = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    runs, left_out = members_to_judge(run)
    given = [*overrides, *([f"device={device}"] if device else [])]
    plans = []
    for path in runs:
        try:
            plans.append(
                plan_evaluation(path, given, data=data, after=after, name=name, overwrite=overwrite)
            )
        except InputError as error:
            if runs == [run]:
                raise
            left_out.append(str(error))
    for why in left_out:
        messages.print(f"left out: {why}", style="yellow")
    if not plans:
        raise InputError(f"nothing of {run} can be judged: {left_out[0]}")
    for plan in plans:
        _judge(plan, overwrite, messages)
    _present(run, plans, messages)


def _judge(plan: EvaluationPlan, overwrite: bool, messages: Console) -> None:
    from cl_sr import api
    from cl_sr.runs.evaluation import EvaluationFolder
    from cl_sr.stopping import Stopped, StopRequest

    for note in plan.notes:
        messages.print(note, style="yellow")
    there = [] if overwrite else EvaluationFolder(plan.path).states
    todo = [state for state in plan.states if state not in there]
    if not todo:
        messages.print(f"{plan.path} is there already (--overwrite judges again)")
        return
    try:
        with api.quiet(), api.explained(plan.path):
            with messages.status("starting (torch and Avalanche take some seconds)"):
                from cl_sr.runs.judging import judge
                from cl_sr.runs.progress import JudgingLogger, tracker
            skipped = f", {len(there)} of them there already" if there else ""
            messages.print(f"{plan.path}: {len(plan.states)} states{skipped}")
            with JudgingLogger(messages, len(todo)) as progress, StopRequest().listening() as stop:
                judge(
                    plan,
                    overwrite=overwrite,
                    loggers=[progress],
                    stop=stop,
                    tracker=tracker(messages),
                )
    except KeyboardInterrupt as error:
        signum = error.signum if isinstance(error, Stopped) else signal.SIGINT
        messages.print("Stopped. The same command goes on with it.")
        raise SystemExit(128 + signum) from None


def _present(run: Path, plans: list[EvaluationPlan], messages: Console) -> None:
    """Show and write the report of one evaluation, or the comparison of a sweep's."""
    from rich.console import Console

    from cl_sr.cli.report import present, present_sweep
    from cl_sr.runs.evaluation import Evaluated

    (name,) = {plan.name for plan in plans} if len({p.name for p in plans}) == 1 else (None,)
    if plans[0].record.path == run:
        results = Console(markup=False, highlight=False)
        made = present(Evaluated(run, plans[0].name), results)
        results.print(f"Everything is in {plans[0].path}: {', '.join(made)}", soft_wrap=True)
    elif name is not None and all(not plan.only for plan in plans):
        present_sweep(run, name, messages)
