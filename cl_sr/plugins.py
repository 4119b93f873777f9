"""Finding what is exchangeable: shipped files, those of installed packages, a user's own file."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from cl_sr.errors import InputError, nearest, out_of_memory

Found = TypeVar("Found")

# The files of users and of installed plug-ins that were imported.
LOADED: set[str] = set()


def shipped(package: str, folder: Path, without: Collection[str] = ()) -> list[ModuleType]:
    """The modules of a folder of plug-ins, one idea a file.

    Args:
        package: the folder's import name.
        folder: where it is.
        without: modules that are none.
    """
    names = sorted(path.stem for path in folder.glob("*.py"))
    left_out = {"__init__", *without}
    return [importlib.import_module(f"{package}.{name}") for name in names if name not in left_out]


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


def find(
    name: str,
    word: str,
    kind: type[Found],
    public: str,
    ours: Callable[[], Mapping[str, Found]],
    group: str,
    example: str,
) -> Found:
    """What is shipped under a name, of an installed package, or in a file `path.py`.

    Args:
        name: of it, or of the file.
        word: what it is called, also in a file (`word = kind(...)`).
        kind: its class.
        public: where users import that from.
        ours: tells those that are shipped.
        group: of the entry points of packages.
        example: of a file's name.

    Raises:
        InputError: there is none, or it is something else.
    """
    if name.endswith(".py"):
        found = getattr(load_file(name), word, None)
        if not isinstance(found, kind):
            raise InputError(f"{name}: no `{word} = {kind.__name__}(...)` in this file")
        return found
    shipped_ones, others = ours(), installed(group)
    if name in shipped_ones:
        return shipped_ones[name]
    if name in others:
        found = others[name].load()
        if not isinstance(found, kind):
            raise InputError(f"{others[name]} is no {public}")
        return found
    known = [*shipped_ones, *others]
    raise InputError(f"unknown {word} {name!r}: {nearest(name, known)} (or a file: {example})")


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
    """One line that names the place in a user's file where an error came from.

    Where an error rises in our code, a user's file may have given it the wrong thing: then the line
    names the file. Empty where no user's file is loaded.
    """
    if not LOADED:
        return ""
    told = f"{type(error).__name__}: {error}"
    frames = traceback.walk_tb(error.__traceback__)
    places = [(f.f_code.co_filename, n) for f, n in frames if f.f_code.co_filename in LOADED]
    if places:
        file, number = places[-1]
        return f"{file}, line {number}: {told}"
    return f"{told}; look at what {' and '.join(sorted(LOADED))} returns and takes"


@contextmanager
def blamed(who: str, plugin: object) -> Iterator[None]:
    """What a user's plug-in raises inside is told in one line, by its name and its place.

    Args:
        who: what to call it, such as `strategy mine`.
        plugin: the object that is called. Errors of shipped ones are ours, and pass.

    Raises:
        InputError: the plug-in raised something.
    """
    module = sys.modules.get(type(plugin).__module__)
    try:
        yield
    except (InputError, KeyboardInterrupt):
        raise
    except (Exception, SystemExit) as error:
        if getattr(module, "__file__", None) not in LOADED or out_of_memory(error):
            raise
        raise InputError(f"{who}: {blame(error)}") from error
