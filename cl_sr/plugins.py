"""Finding what is exchangeable: shipped files, those of installed packages, a user's own file."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
import traceback
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from cl_sr.errors import InputError

# What a folder of plug-ins holds beside plug-ins.
INFRASTRUCTURE = {"__init__", "base", "composition", "registry"}
COMPOSITION = "cl_sr.strategies.composition"
# The files of users and of installed plug-ins that were imported.
LOADED: set[str] = set()


def shipped(package: str, folder: Path) -> list[ModuleType]:
    """The modules of a folder of plug-ins, one idea a file, without what finds and joins them."""
    names = sorted(path.stem for path in folder.glob("*.py"))
    return [
        importlib.import_module(f"{package}.{name}") for name in names if name not in INFRASTRUCTURE
    ]


@dataclass(frozen=True)
class Installed:
    """A plug-in that an installed package brings by an entry point."""

    entry: importlib.metadata.EntryPoint

    def __str__(self) -> str:
        package = self.entry.dist.name if self.entry.dist else "an installed package"
        return f"{self.entry.name!r} ({self.entry.value} of {package})"

    def load(self) -> Any:
        """Import it.

        Raises:
            InputError: it cannot be imported.
        """
        try:
            loaded = self.entry.load()
        except (Exception, SystemExit) as error:
            raise InputError(
                f"the plug-in {self} cannot be imported: {type(error).__name__}: {error}"
            ) from error
        # A package may re-export what one of its other files declares.
        for name in (self.entry.module, getattr(loaded, "__module__", "")):
            if file := getattr(sys.modules.get(name), "__file__", None):
                LOADED.add(file)
        return loaded


@cache
def installed(group: str) -> dict[str, Installed]:
    """The plug-ins of an entry-point group, by name. Nothing is imported."""
    return {entry.name: Installed(entry) for entry in importlib.metadata.entry_points(group=group)}


def load_file(path: str) -> ModuleType:
    """Import a user's Python file.

    Raises:
        InputError: there is no such file, or it cannot be imported.
    """
    try:
        file = Path(path).expanduser().resolve()
        found = file.is_file()
    except (OSError, ValueError, RuntimeError):  # a name that no file can have
        found = False
    if not found:
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
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise InputError(blame(error) or f"{path}: {type(error).__name__}: {error}") from error
    return module


def blame(error: BaseException) -> str:
    """One line that names the strategy and the place in a user's file where an error came from.

    Where an error rises in our code, a user's file may have given it the wrong thing: then the line
    names the file. Empty where no user's file is loaded.
    """
    if not LOADED:
        return ""
    frames = list(traceback.walk_tb(error.__traceback__))
    told = f"{type(error).__name__}: {error}"
    # Every hook is called by a composition, which calls each strategy `part`.
    parts = [frame.f_locals["part"] for frame, _ in frames if _is_composition(frame)]
    who = f"strategy {parts[-1].title()}: " if parts else ""
    places = [(f.f_code.co_filename, n) for f, n in frames if f.f_code.co_filename in LOADED]
    if places:
        file, number = places[-1]
        return f"{who}{file}, line {number}: {told}"
    files = " and ".join(sorted(LOADED))
    return f"{who}{told}; look at what {files} returns and takes"


def _is_composition(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__") == COMPOSITION and "part" in frame.f_locals
