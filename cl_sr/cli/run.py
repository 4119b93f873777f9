"""`cl-sr run`: the main job."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cl_sr.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from cl_sr.config import RunConfig
    from cl_sr.runs.folder import RunFolder
    from cl_sr.runs.parent import Parent


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
    "runs/ of this very configuration; where there is none, start it. With more train.iterations: "
    "as --continue.",
)
@click.option(
    "--continue",
    "parent",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Go on from a finished run, in a new folder: with a --stream that begins with its domains "
    "and has further ones, or with more train.iterations of the last.",
)
@click.option("--dry-run", is_flag=True, help="Check everything, show the configuration, stop.")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def command(
    preset: str | None,
    config_file: Path | None,
    data: tuple[str, ...],
    strategy: tuple[str, ...],
    out: Path | None,
    overwrite: bool,
    resume: str | None,
    parent: Path | None,
    dry_run: bool,
    overrides: tuple[str, ...],
    **keys: Any,
) -> None:
    """Train SR3 over a stream of image domains and report what it forgot.

    Any configuration key can be given as KEY=VALUE (`cl-sr list keys` shows them all).

    \b
    cl-sr run --stream celeba-anime
    cl-sr run --stream celeba-anime --strategy timestep-window:start=0,stop=200
    cl-sr run --stream celeba-anime --strategy replay:size=16 --strategy generative-distill
    cl-sr run --stream celeba-df2k --preset small --data ~/images train.lr=2e-4
    cl-sr run --resume runs/NAME
    cl-sr run --resume runs/NAME train.iterations=[2000,3000]
    cl-sr run --continue runs/NAME --stream celeba-anime-df2k
    """
    from cl_sr import api
    from cl_sr.runs.folder import WHERE

    keys["strategy"] = "+".join(strategy) if strategy else None
    longer = any(item.startswith("train.iterations=") for item in overrides)
    if resume and resume != "auto" and parent is None and longer:
        parent, resume = Path(resume), None
    if resume and resume != "auto":
        others = [name for name, value in keys.items() if value is not None and name != "device"]
        others += [item for item in overrides if not _tells_where(item)]
        if any([preset, config_file, out, overwrite, parent, *others]):
            raise InputError(
                f"--resume {resume} goes on with that run's own config.yaml: leave out the rest, "
                f"but where it is made (--device, --data, {', '.join(WHERE)}); or go on from it "
                f"when it is finished (--continue {resume})"
            )
        device = [f"device={keys['device']}"] if keys["device"] else []
        _resume(Path(resume), dry_run, data, [*device, *overrides])
        return
    if resume and overwrite:
        raise InputError("--resume auto and --overwrite contradict each other: use one")
    given = {key: value for key, value in keys.items() if value is not None}
    before = None if parent is None else api.parent_of(parent)
    config, name = api.configuration(preset, config_file, data, given, overrides, before)
    if resume and (found := _unfinished(config, out)):
        _resume(found, dry_run, elsewhere=config)
        return
    _run(config, name, out, overwrite, dry_run, parent=before)


def _unfinished(config: RunConfig, out: Path | None) -> Path | None:
    """The run that `--resume auto` means: in `out`, or the newest alike below `runs/`.

    Raises:
        InputError: `out` holds a run of another configuration.
    """
    from cl_sr.runs.folder import RunFolder

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


def _tells_where(override: str) -> bool:
    """Whether a `key=value` says where a run is made, and not what it is."""
    from cl_sr.runs.folder import WHERE

    key = override.partition("=")[0]
    return key in WHERE or key.startswith("data.folders.")


def _resume(
    path: Path,
    dry_run: bool,
    data: Sequence[str] = (),
    overrides: Sequence[str] = (),
    elsewhere: RunConfig | None = None,
) -> None:
    """Go on with a run: by its own configuration, but where it is made.

    Args:
        path: of its folder.
        dry_run: only check.
        data, overrides: of the command line, which say where.
        elsewhere: a configuration of the same run that says where.
    """
    from cl_sr import config as configuration
    from cl_sr.runs.folder import WHERE, RunFolder
    from cl_sr.yaml_text import read_yaml

    folder = RunFolder.open(path)
    if folder.finished:
        click.echo(
            f"{path} is finished: `cl-sr report {path}` shows what it found, and more "
            f"train.iterations or --continue {path} go on from it",
            err=True,
        )
        return
    values = read_yaml(path / "config.yaml")
    if elsewhere is not None:
        there = elsewhere.model_dump(mode="json")
        configuration.put_all(values, ((key, configuration.pick(there, key)) for key in WHERE))
    configuration.put_data(values, data, own=True)
    config = configuration.resolve(values, overrides)
    _run(config, f"{path}/config.yaml", path, False, dry_run, resume=True)


def _run(
    config: RunConfig,
    name: str,
    out: Path | None,
    overwrite: bool,
    dry_run: bool,
    resume: bool = False,
    parent: Parent | None = None,
) -> None:
    from rich.console import Console

    from cl_sr import api
    from cl_sr.runs.descent import Descent
    from cl_sr.runs.places import begin, check_place
    from cl_sr.runs.plan import check
    from cl_sr.stopping import Stopped, StopRequest

    # Paths and names may hold square brackets, which are not meant as markup.
    messages = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    plan = check(config)
    descent = None if parent is None else Descent(parent, plan)
    check_place(plan, out, overwrite, resume, descent)
    signum, folder = None, None
    try:
        with api.quiet():
            loaded = api.prepare(plan, name, messages, descent)
            if dry_run:
                click.echo(loaded.plan.config.to_yaml(), nl=False)
                return
            folder = begin(loaded, out, overwrite, resume, descent)
            taken_up = resume or descent is not None
            with StopRequest().listening() as stop:
                api.train(loaded, folder, messages, stop=stop, resume=taken_up)
    except Stopped as error:
        signum = error.signum
    except KeyboardInterrupt:
        signum = signal.SIGINT
    if folder is None:  # stopped before there was anything
        raise SystemExit(128 + (signum or 0))
    _present(folder, signum, messages)


def _present(folder: RunFolder, signum: int | None, messages: Console) -> None:
    """Show and write the report, also of a run that was stopped."""
    from rich.console import Console

    from cl_sr.cli.report import present
    from cl_sr.runs.record import Record

    results = Console(markup=False, highlight=False)
    made = present(Record(folder.path), results)
    if signum is not None:
        messages.print(f"Stopped. Go on with it: cl-sr run --resume {folder.path}")
        raise SystemExit(128 + signum)
    names = ", ".join([*made, "checkpoints"])
    results.print(f"Everything is in {folder.path}: {names}", soft_wrap=True)
