"""Writing so that nothing is ever half a file, whenever the process or the machine stops."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from cl_sr.errors import InputError

# What file systems answer that have no locks, or no way to wait until a folder is on disk (CIFS,
# vboxsf, Lustre, some NFS).
UNSUPPORTED = {
    getattr(errno, name)
    for name in ("EINVAL", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "ENOLCK")
    if hasattr(errno, name)
}


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """A file to write, which takes the name `target` when it is whole; else it vanishes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    partial.unlink(missing_ok=True)  # it might be a link to something of value
    try:
        yield partial
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    os.replace(partial, target)


def write_text(target: Path, text: str) -> None:
    """Replace a text file in one step."""
    # Paths in a manifest may hold bytes that are not UTF-8.
    with (
        whole_file(target) as partial,
        partial.open("x", encoding="utf-8", errors="surrogateescape") as file,
    ):
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        InputError: absent, damaged, or something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} is not a JSON object")
    return values


def acquire(path: Path) -> BaseFileLock | None:
    """The lock of this name, held until it is released or the process dies; None: by another.

    Where the file system has no locks, a file stands for one, and this is said.
    """
    lock: BaseFileLock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        lock = SoftFileLock(path.with_name(f"{path.name}.soft"))
        warnings.warn(
            f"{path.parent} is on a file system without locks ({error.strerror}): "
            f"{lock.lock_file} stands for one; should it stay behind, remove it",
            stacklevel=2,
        )
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
    return lock


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep every other process from a folder; a process that dies lets go of it.

    Raises:
        InputError: another process has it.
    """
    path = folder / ".lock"
    if path.is_symlink():
        raise InputError(f"{path} is a link: remove it")
    lock = acquire(path)
    if lock is None:
        raise InputError(
            f"another process is at work in {folder}: wait for it, or choose another --out"
        )
    try:
        yield
    finally:
        lock.release()


def check_writable(path: Path) -> None:
    """Refuse a place where nothing could be made, changing nothing.

    Raises:
        InputError: with the remedy.
    """
    parent = next(p for p in [path, *path.absolute().parents] if p.exists())
    try:
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            raise OSError
        # What rights promise, a file system may refuse; what runs do is tried.
        with tempfile.TemporaryDirectory(prefix=".cl-sr-", dir=parent) as trial:
            write_text(Path(trial) / "file", "")
            with whole_folder(Path(trial) / "folder"):
                pass
    except OSError as error:
        raise InputError(f"cannot write to {parent}: choose another --out") from error


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A folder to fill, which takes the name `target` when all is on disk; else it vanishes.

    One of the same name is replaced.
    """
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        for path in [*sorted(partial.rglob("*")), partial]:
            _sync(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    former = target.with_name(f".{target.name}.former")
    if target.exists():
        shutil.rmtree(former, ignore_errors=True)
        os.replace(target, former)
    os.replace(partial, target)
    _sync(target.parent)
    shutil.rmtree(former, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """What `whole_folder` was writing below `folder` when its process was killed."""
    for path in folder.glob(".*"):
        if path.name.endswith(".former"):
            target = path.with_name(path.name[1 : -len(".former")])
            if not target.exists():  # killed between its two steps
                os.replace(path, target)
                continue
        if path.name.endswith((".former", ".partial")):
            shutil.rmtree(path, ignore_errors=True)


def _sync(path: Path) -> None:
    """Wait until a file or a folder is on disk; a folder, where the file system has a way."""
    folder = path.is_dir()
    if folder and os.name == "nt":
        return  # folders cannot be opened there
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        if not folder or error.errno not in UNSUPPORTED:
            raise
    finally:
        os.close(handle)
