"""Files that training code leaves: what is none is named, and of pickles only data is read.

PyTorch's `weights_only` unpickler runs no code, and refuses a file at the first object that is not
data. What training code puts beside weights (Lightning's callbacks, numpy's scalars, options) is
read with a stand-in in the place of each class, which takes anything and keeps nothing: no code of
theirs is even imported. A file that calls functions of Python's own library is refused.
"""

from __future__ import annotations

import io
import pickletools
import re
import sys
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import torch

from cl_sr.errors import InputError

# What of Python's own library lies beside weights. Else what is called there is no data.
DATA_MODULES = {
    "argparse", "collections", "copyreg", "datetime", "decimal", "enum", "fractions", "pathlib",
    "typing", "uuid",
}  # fmt: skip
DATA = {"_codecs.encode", *(f"builtins.{name}" for name in (
    "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object",
    "range", "set", "slice", "str", "tuple"))}  # fmt: skip

ARCHIVE = "an archive: unpack it, and give the file of weights in it"
# What a file begins with that is something else.
MAGIC = {
    b"version https://git-lfs": "a pointer of Git LFS, not the weights: get them by `git lfs pull`",
    b"\x1f\x8b": ARCHIVE,
    b"7z\xbc\xaf": ARCHIVE,
    b"Rar!": ARCHIVE,
    b"\xfd7zXZ": ARCHIVE,
    b"\x89HDF": "of Keras (HDF5): weights of PyTorch are read",
    b"GGUF": "of llama.cpp (GGUF): weights of PyTorch are read",
}
PAGE = re.compile(rb"<(!doctype html|html|head|\?xml)", re.IGNORECASE)


def check_kind(path: Path) -> None:
    """Refuse a file whose beginning shows that it holds no weights.

    Raises:
        InputError: with what it is, and the remedy.
    """
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    if not head:
        raise InputError(f"{path} is empty: damaged, cut short by a download or a full disk")
    for magic, what in MAGIC.items():
        if head.startswith(magic):
            raise InputError(f"{path} is {what}")
    if PAGE.match(head.lstrip(b"\xef\xbb\xbf \t\r\n")):
        raise InputError(
            f"{path} is a web page, not weights: what was downloaded is the page about them, or an "
            "error; download the file itself"
        )
    if head[257:262] == b"ustar" or _is_plain_archive(path):
        raise InputError(f"{path} is {ARCHIVE}")
    if _is_text(head):
        start = " ".join(head.decode(errors="replace").split())[:60]
        raise InputError(f"{path} is text, not weights (it begins with {start!r})")


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors' do, whatever its name."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def load_pickle(path: Path) -> Any:
    """What `torch.save` wrote, of data alone, mapped into memory where the format allows it.

    Raises:
        InputError: it is damaged, or it cannot be read without its objects.
    """
    try:
        return _load(path, [])
    # Bytes that are no checkpoint make torch raise almost anything.
    except Exception as error:
        objects = _objects(path)
        if not any(_is_call(name) for name in objects):
            for other in (Left, LeftDict):  # whether a class is a dict its name does not tell
                with suppress(Exception):
                    return _load(path, [(_stand_in(name, other), name) for name in objects])
        check_objects(path)
        reason = str(error).rpartition("WeightsUnpickler error: ")[2][:300]
        raise InputError(
            f"{path} is damaged, cut short, or no file of torch.save "
            f"({type(error).__name__}: {reason})"
        ) from error


def _load(path: Path, stand_ins: list[Any]) -> Any:
    with torch.serialization.safe_globals(stand_ins), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a pickle's protocol; what it cannot read is an error
        if path.suffix == ".safetensors":  # torch.load would go by the name
            with path.open("rb") as file:
                return torch.load(file, map_location="cpu", weights_only=True)
        mapped = zipfile.is_zipfile(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)


class Left:
    """In the place of an object that is not loaded."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


class LeftDict:
    """In the place of one that is a dict, and is filled."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return OrderedDict()


def _stand_in(name: str, other: type) -> type:
    """For a class: `other`, where it is not known what it is."""
    if name == "collections.defaultdict":
        return LeftDict
    return Left if _module(name) in DATA_MODULES | {"numpy", "torch"} else other


def _module(name: str) -> str:
    return name.partition(".")[0]


def _is_call(name: str) -> bool:
    """Whether it is of Python's own library, and no data."""
    return name not in DATA and _module(name) in sys.stdlib_module_names - DATA_MODULES


def check_objects(path: Path) -> None:
    """Refuse a pickle of objects, without which it cannot be read.

    Raises:
        InputError: with their names.
    """
    objects = _objects(path)
    # Of a network that was pickled whole nothing is left without its classes.
    nets = sorted(name for name in objects if name.startswith(("torch.nn.modules.", "torch.jit.")))
    plain = DATA_MODULES | {"numpy", "torch"}
    strange = sorted(name for name in objects - DATA if _module(name) not in plain)
    if not nets and not strange:
        return
    calls = [name for name in strange if _is_call(name)]
    names = calls or strange or nets
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    whole = nets and not calls
    what = f"a whole pickled model ({shown})" if whole else f"more than weights ({shown})"
    raise InputError(
        f"{path} is {what}, and Python objects are never loaded: they can run code; load it with "
        "the code that it is from, and save its weights alone: torch.save(model.state_dict(), FILE)"
    )


def _objects(path: Path) -> set[str]:
    """The names of the classes and functions in a pickle, as far as it can be read."""
    found: set[str] = set()
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
                if any(name.endswith("/constants.pkl") for name in names):
                    return {"torch.jit.ScriptModule"}
                (name,) = (name for name in names if name.endswith("/data.pkl"))
                with archive.open(name) as file:
                    _collect(io.BytesIO(file.read()), found)
        else:
            with path.open("rb") as file:  # the old format: several pickles, then the tensors
                for _ in range(4):
                    _collect(file, found)
    # As above.
    except Exception:
        pass
    return found


def _collect(pickle: IO[bytes], found: set[str]) -> None:
    """Adds the names of the classes and functions in one pickle."""
    texts = ["", ""]
    for operation, argument, _ in pickletools.genops(pickle):
        if operation.name == "GLOBAL":
            module, name = str(argument).split(" ", 1)
        elif operation.name == "STACK_GLOBAL":
            module, name = texts
        else:
            texts = [texts[1], argument] if isinstance(argument, str) else texts
            continue
        # As PyTorch reads them: by the names of Python 3.
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        found.add(f"{module}.{name}")


def _is_plain_archive(path: Path) -> bool:
    """Whether it is a zip that torch.save did not write."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return not any(name.endswith("/data.pkl") for name in archive.namelist())
    # Damaged ones make zipfile raise BadZipFile, UnicodeDecodeError, NotImplementedError and more.
    except Exception:
        return False


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else a letter of several bytes is cut
            return False
        text = head[: error.start].decode()
    return all(letter.isprintable() or letter.isspace() for letter in text)
