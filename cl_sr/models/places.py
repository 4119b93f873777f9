"""Which file or folder a path to weights means: told without torch."""

from __future__ import annotations

import os
import re
from pathlib import Path

from cl_sr.errors import InputError
from cl_sr.models.description import CONFIG, WEIGHTS

GEN, OPT = "_gen.pth", "_opt.pth"  # the public SR3 code's files of one state


def weights_at(path: Path | str) -> Path:
    """Where the weights are that a path means; the path itself, where there is nothing to find.

    The public SR3 code names a state without the ends of its files: `I640000_E37` is
    `I640000_E37_gen.pth`. Weights beside their config.json, of ours or of diffusers, are read as
    the folder that both are in.

    Raises:
        InputError: a name that cannot be one, the state of an optimizer, or a folder of several
            states.
    """
    path = Path(path)
    try:
        there, folder = path.exists(), path.is_dir()
    except (OSError, ValueError) as error:  # too long a name, or a null byte in it
        raise InputError(f"{str(path)[:100]}: {error}") from error
    if path.name.endswith(OPT):
        gen = path.name.removesuffix(OPT) + GEN
        raise InputError(f"{path} is the state of an optimizer: give {gen} beside it")
    if not there and path.name:
        names = [path.name + GEN, path.name + ".pth"]
        files = [path.with_name(name) for name in names]
        return next((file for file in files if os.path.isfile(file)), path)
    whole = path.name == WEIGHTS or path.name.startswith("diffusion_pytorch_model.")
    if whole and (path.parent / CONFIG).is_file():
        return path.parent
    states = sorted(path.glob(f"*{GEN}"), key=_iteration) if folder else []
    if states and not (path / CONFIG).exists():
        if len(states) == 1:
            return states[0]
        raise InputError(f"{path} holds {len(states)} states: give one, such as {states[-1]}")
    return path


def _iteration(file: Path) -> tuple[int, str]:
    found = re.match(r"I(\d+)_", file.name)
    return int(found[1]) if found else -1, file.name
