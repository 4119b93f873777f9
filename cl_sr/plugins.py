"""Finding what is exchangeable: the files of a shipped folder, or a user's own file."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from cl_sr.errors import InputError

# The files of users that were imported.
LOADED: set[str] = set()


def shipped(package: str, folder: Path) -> list[ModuleType]:
    """The modules of a folder of plug-ins, one idea a file, without `__init__` and `base`."""
    names = sorted(path.stem for path in folder.glob("*.py"))
    return [
        importlib.import_module(f"{package}.{name}")
        for name in names
        if name not in {"__init__", "base"}
    ]


def load_file(path: str) -> ModuleType:
    """Import a user's Python file.

    Raises:
        InputError: there is no such file, or it cannot be imported.
    """
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise InputError(f"no file {path}")
    name = f"cl_sr_user_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    LOADED.add(str(file))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise InputError(blame(error) or f"{path}: {type(error).__name__}: {error}") from error
    return module


def blame(error: BaseException) -> str:
    """One line that names the place in a user's file where an error came from; empty if in none."""
    frames = traceback.extract_tb(error.__traceback__)
    place = next((frame for frame in reversed(frames) if frame.filename in LOADED), None)
    if place is None:
        return ""
    return f"{place.filename}, line {place.lineno}: {type(error).__name__}: {error}"
