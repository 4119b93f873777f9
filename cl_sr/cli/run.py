"""`cl-sr run`: the main job."""

from __future__ import annotations

import errno
import re
import signal
from pathlib import Path
from typing import Any

import click

from cl_sr.cli.report import present
from cl_sr.errors import InputError, out_of_memory

UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO}


@click.command()
@click.option("--stream", metavar="NAME|FILE", help="A stream of domains; see `cl-sr list`.")
@click.option("--preset", metavar="NAME", help="A shipped configuration (default: demo).")
@click.option(
    "--config",
    "config_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A configuration file, such as RUN/config.yaml.",
)
@click.option(
    "--data",
    multiple=True,
    metavar="DIR|DOMAIN=DIR",
    help="Real images: DIR/<domain>/, or one domain's folder. May be repeated. "
    "Default: $CL_SR_DATA, or stand-ins drawn by code.",
)
@click.option(
    "--strategy",
    multiple=True,
    metavar="NAME[:KEY=VALUE,...]",
    help="What is done about forgetting; see `cl-sr list`. May be repeated: they act together.",
)
@click.option("--init", metavar="FILE", help="Weights to start from: *_gen.pth, or one of ours.")
@click.option("--seed", type=int, help="Of weights, noise and data order.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), help="Where to run.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="The run's folder (default: runs/...)."
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier run in --out.")
@click.option(
    "--resume",
    metavar="RUN|auto",
    help="Go on with a run that was stopped. auto: with the one in --out, or with the newest below "
    "runs/ of this very configuration; where there is none, start it.",
)
@click.option("--dry-run", is_flag=True, help="Check everything, show the configuration, stop.")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def command(
    stream: str | None,
    preset: str | None,
    config_file: Path | None,
    data: tuple[str, ...],
    strategy: tuple[str, ...],
    init: str | None,
    seed: int | None,
    device: str | None,
    out: Path | None,
    overwrite: bool,
    resume: str | None,
    dry_run: bool,
    overrides: tuple[str, ...],
) -> None:
    """Train SR3 over a stream of image domains and report what it forgot.

    Any configuration key can be given as KEY=VALUE (`cl-sr list keys` shows them all).

    \b
    cl-sr run --stream celeba-anime
    cl-sr run --stream celeba-anime --strategy timestep-window:start=0,stop=200
    cl-sr run --stream celeba-anime --strategy replay:size=16 --strategy generative-distill
    cl-sr run --stream celeba-df2k --preset small --data ~/images train.lr=2e-4
    cl-sr run --resume runs/NAME
    """
    from cl_sr import config as configuration

    if resume and resume != "auto":
        given = [
            stream, preset, config_file, data, strategy, init, seed is not None, device, out,
            overwrite, overrides,
        ]  # fmt: skip
        if any(given):
            raise InputError(
                f"--resume {resume} goes on with that run's own config.yaml: leave out the rest"
            )
        _resume(Path(resume), dry_run)
        return
    if resume and overwrite:
        raise InputError("--resume auto and --overwrite contradict each other: use one")
    if preset and config_file:
        raise InputError("--preset and --config both give a whole configuration: use one")
    if config_file:
        values = configuration.read_yaml(config_file)
        if "grid" in values:
            raise InputError(f"{config_file} is a sweep of many runs: cl-sr sweep {config_file}")
    else:
        values = configuration.read_preset(preset or configuration.DEFAULT_PRESET)
    flags = {
        "stream": stream,
        "strategy": "+".join(strategy) or None,
        "init": init,
        "seed": seed,
        "device": device,
    }
    values |= {key: value for key, value in flags.items() if value is not None}
    configuration.put_data(values, data, own=config_file is not None)
    config = configuration.resolve(values, overrides)
    if resume and (found := _unfinished(config, out)):
        _resume(found, dry_run)
        return
    if out is not None:
        from cl_sr.training.run_folder import RunFolder

        RunFolder.check_free(out, overwrite)
    name = config_file.name if config_file else f"preset {preset or configuration.DEFAULT_PRESET}"
    _run(config, name, out, overwrite, dry_run)


def _unfinished(config: Any, out: Path | None) -> Path | None:
    """The run that `--resume auto` means: in `out`, or the newest alike below `runs/`.

    Raises:
        InputError: `out` holds a run of another configuration.
    """
    from cl_sr.training.run_folder import RunFolder

    if out is not None:
        if not (out / "config.yaml").is_file():
            return None
        RunFolder(out).check_same(config)
        return out
    runs = [RunFolder(path.parent) for path in Path("runs").glob("*/status.json")]
    runs.sort(key=lambda run: (run.path / "status.json").stat().st_mtime, reverse=True)
    waiting = (run for run in runs if not run.finished and not run.locked)
    found = next((run for run in waiting if run.difference(config) is None), None)
    return None if found is None else found.path


def _resume(path: Path, dry_run: bool) -> None:
    from cl_sr import config as configuration
    from cl_sr.training.run_folder import RunFolder

    folder = RunFolder.open(path)
    if folder.finished:
        click.echo(f"{path} is finished; `cl-sr report {path}` shows what it found", err=True)
        return
    if folder.locked:
        raise InputError(f"another process is at work in {path}")
    config = configuration.resolve(configuration.read_yaml(path / "config.yaml"))
    _run(config, f"{path}/config.yaml", path, False, dry_run, resume=True)


def _run(
    config: Any, name: str, out: Path | None, overwrite: bool, dry_run: bool, resume: bool = False
) -> None:
    from rich.console import Console

    # Paths and names may hold square brackets, which are not meant as markup.
    messages = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    results = Console(markup=False, highlight=False)
    with messages.status("starting (torch and Avalanche take some seconds)"):
        import warnings

        warnings.filterwarnings("ignore", module=r"(?!cl_sr)")
        from cl_sr.plugins import blame
        from cl_sr.training.progress import ProgressLogger, tracker
        from cl_sr.training.run import execute, plan_run
        from cl_sr.training.run_folder import RunFolder
        from cl_sr.training.stopping import Stopped, StopRequest

    signum: int | None = None
    folder: RunFolder | None = None
    try:
        plan = plan_run(config, tracker(messages))
        _describe(plan, name, messages)
        if dry_run:
            click.echo(plan.config.to_yaml(), nl=False)
            return
        if resume and out is not None:
            folder = RunFolder.open(out)
        else:
            out = out or _default_folder(config)
            folder = RunFolder.create(out, overwrite, plan.first_files())
        progress = ProgressLogger(messages, sum(plan.iterations), len(plan.iterations))
        with progress, StopRequest().listening() as stop:
            execute(plan, folder, loggers=[progress], stop=stop, resume=resume)
    except Stopped as error:
        signum = error.signum
    except KeyboardInterrupt:
        signum = signal.SIGINT
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        if out_of_memory(error):
            raise InputError(
                "too little memory for this run: lower train.batch_size or eval.batch_size, or "
                "take a smaller preset"
            ) from error
        if isinstance(error, OSError) and error.errno in UNWRITABLE:
            raise InputError(
                f"cannot write to {out}: {error.strerror}; make room or restore the permission, "
                "then go on with --resume"
            ) from error
        if line := blame(error):
            raise InputError(line) from error
        raise
    if folder is None:  # stopped before there was anything
        raise SystemExit(128 + (signum or 0))
    made = present(folder, results)
    if signum is not None:
        messages.print(f"Stopped. Go on with it: cl-sr run --resume {folder.path}")
        raise SystemExit(128 + signum)
    names = ", ".join([*made, "checkpoints"])
    results.print(f"Everything is in {folder.path}: {names}", soft_wrap=True)


def _describe(plan: Any, name: str, messages: Any) -> None:
    """What is about to be run, and what was odd about the data."""
    from cl_sr.data.prepare import skipped

    for data in plan.data.values():
        copies = f", {data.duplicates} exact copies kept on one side" if data.duplicates else ""
        if data.leaked:
            copies = f", {data.leaked} of them copies of training images (data.split=random)"
        messages.print(
            f"{data.label}: {len(data.train)} training and {len(data.test)} {data.side} "
            f"images{copies}"
        )
        if data.enlarged:
            messages.print(
                f"{data.label}: {data.enlarged} images are smaller than {data.size} pixels and "
                "were enlarged: they have no detail to learn",
                style="yellow",
            )
        if data.unreadable:
            messages.print(f"{data.label}: skipped {skipped(data.unreadable)}", style="yellow")
    parameters = sum(p.numel() for p in plan.model.net.parameters())
    messages.print(
        f"{name}, strategy {plan.config.strategy}, {plan.model.title} with "
        f"{parameters / 1e6:.1f} M parameters on {plan.device}{' in bf16' if plan.bf16 else ''}"
    )


def _default_folder(config: Any) -> Path:
    """`runs/STREAM-STRATEGY-seedN`, with a number where that is taken."""
    stream = Path(config.stream).stem if config.stream.endswith(".py") else config.stream
    strategy = re.sub(r"[^\w.-]+", "-", config.strategy)[:100]
    base = Path("runs") / f"{stream}-{strategy}-seed{config.seed}"
    path, number = base, 1
    while path.exists():
        number += 1
        path = base.with_name(f"{base.name}-{number}")
    return path
