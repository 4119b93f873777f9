"""Finding what is exchangeable: the files of a shipped folder, or a user's own file."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from cl_sr.errors import InputError


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
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a user's file raises becomes one line
        del sys.modules[name]
        raise InputError(f"{path}: {type(error).__name__}: {error}") from error
    return module
