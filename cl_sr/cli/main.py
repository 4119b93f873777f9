"""`cl-sr`: the group of commands, and how errors in the input are told."""

from __future__ import annotations

import importlib
import io
import sys
import warnings
from typing import Any

import click

import cl_sr
from cl_sr.errors import InputError

COMMANDS = {
    "run": "Train over a stream and report what was forgotten.",
    "sweep": "Run a grid of configurations and compare them.",
    "eval": "Judge the saved states of a run or a sweep again, by other settings.",
    "infer": "Upscale images with a model that was trained.",
    "export": "Write trained weights for other people, or to the Hugging Face hub.",
    "runs": "List runs, how far they came, and what they found.",
    "zero-shot": "Super-resolve images without training, by DDNM with a prior.",
    "compare": "Compare strategies: what each forgot, learnt and took.",
    "layers": "Tell which layers of a run forgot.",
    "report": "Show the forgetting report of a run again.",
    "list": "List streams, strategies, presets and configuration keys.",
}


class Commands(click.Group):
    """Imports a command's file when it is called, and turns `InputError` into one line."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"cl_sr.cli.{name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, context: click.Context) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # names of files may be of any bytes
                stream.reconfigure(errors="replace")
        whole, warnings.formatwarning = warnings.formatwarning, _one_line
        try:
            return super().invoke(context)
        except InputError as error:
            raise _OneLine(str(error)) from error
        finally:
            warnings.formatwarning = whole


def _one_line(message: Warning | str, *_: Any, **__: Any) -> str:
    """A warning without the line of code that gave it."""
    return f"warning: {message}\n"


class _OneLine(click.ClickException):
    exit_code = 2


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(cl_sr.__version__, prog_name="cl-sr")
def main() -> None:
    """What does a diffusion super-resolution model forget when it learns a new domain?

    \b
    See it happen in a few minutes, on images drawn by code:
      cl-sr run --stream celeba-anime
    On your own images, one folder a domain below DIR:
      cl-sr run --stream celeba-anime --preset small --data DIR
    """
