"""`cl-sr export`: trained weights for other people, with a model card."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--to",
    required=True,
    metavar="FOLDER|hf:OWNER/NAME",
    help="A new folder, or a repository on the Hugging Face hub, with @BRANCH for a branch.",
)
@click.option("--after", metavar="DOMAIN", help="Its state after this domain (default: the last).")
@click.option(
    "--format",
    type=click.Choice(["cl-sr", "sr3", "diffusers"]),
    default="cl-sr",
    show_default=True,
    help="For cl-sr, the public SR3 code (*_gen.pth), or diffusers (UNet2DModel).",
)
@click.option("--license", metavar="ID", help="Of the weights, such as cc-by-4.0: for the card.")
@click.option("--private", is_flag=True, help="Make a new repository on the hub a private one.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier export.")
def command(
    run: Path,
    to: str,
    after: str | None,
    format: str,
    license: str | None,
    private: bool,
    overwrite: bool,
) -> None:
    """Write the weights of RUN so that others can use them, with a model card (README.md).

    What inference needs goes with them: a router's adapters, the experts of noise levels. What a
    run is resumed from does not, nor does any image that a strategy keeps.

    \b
    cl-sr export runs/NAME --to weights --license cc-by-4.0
    cl-sr export runs/NAME --to hf:owner/name --after celeba
    cl-sr export runs/NAME --to public --format sr3
    """
    from rich.console import Console

    from cl_sr.api import quiet
    from cl_sr.export.run import export
    from cl_sr.models.hub import is_on_hub

    messages = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    # The hub's progress bars need the line for themselves.
    status = messages.status("exporting (torch takes some seconds)")
    with nullcontext() if is_on_hub(to) else status, quiet():
        place = export(
            run,
            to,
            after,
            format=format,
            license=license,
            private=private,
            overwrite=overwrite,
        )
    click.echo(place)
    if license is None:
        messages.print("No --license was given: the card says so, and others may not know theirs.")
