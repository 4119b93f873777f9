"""A state of a run, exported: into a folder, or to the hub."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from cl_sr.errors import InputError
from cl_sr.export.source import Source
from cl_sr.files import check_writable, whole_folder
from cl_sr.models.hub import HubPlace, check_free, is_on_hub, publish
from cl_sr.runs.record import Record

FORMATS = ("cl-sr", "sr3", "diffusers")
# All that an export writes: another's folder, a run or a checkpoint is never replaced.
WRITTEN = (
    "README.md", "model.safetensors", "config.json", "memory.safetensors", "base", "adapters",
    "unet", "scheduler", "model_index.json",
)  # fmt: skip
REPLACED = [*(name if "." in name else f"{name}/*" for name in WRITTEN), "*_gen.pth"]


def export(
    run: Path | str,
    to: Path | str,
    after: str | None = None,
    *,
    format: str = "cl-sr",
    license: str | None = None,
    private: bool = False,
    overwrite: bool = False,
) -> str:
    """Write trained weights so that others can use them, with a model card.

    Args:
        run: its folder; unfinished ones have what was saved.
        to: a folder, or `hf:owner/name[@branch]` on the Hugging Face hub.
        after: the domain after which; None: the last one that was learnt.
        format: `cl-sr`, which `cl_sr.load` takes; `sr3`, the public SR3 code's; or `diffusers`.
        license: an identifier of the hub (`apache-2.0`), for the card.
        private: whether a repository that is made on the hub is.
        overwrite: replace an earlier export.

    Returns:
        where it is: the folder, or the address of the commit.

    Raises:
        InputError: no such state, a place that is taken or cannot be written, a format that the
            model is not for, or the hub refuses it. Nothing is lost.
    """
    if format not in FORMATS:
        raise InputError(f"--format {format}: take one of {', '.join(FORMATS)}")
    if license is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", license):
        raise InputError(
            f"--license {license}: give an identifier, such as apache-2.0 or cc-by-4.0"
        )
    source = Source.find(Record(Path(run)), after)
    if source.record.state != "finished":
        warnings.warn(f"{run} is not finished: its state {source.name} is exported", stacklevel=2)
    if is_on_hub(to):
        place = HubPlace.parse(str(to))
        check_free(place, overwrite)
        with TemporaryDirectory(prefix="cl-sr-") as made, _written(place):
            _write(Path(made), source, format, str(place), license)
            message = f"{source.name} of a cl-sr run, {format} format"
            return publish(Path(made), place, private=private, message=message, replaces=REPLACED)
    folder = Path(to)
    _check_folder(folder, source.record.path, overwrite)
    with _written(folder), whole_folder(folder) as partial:
        _write(partial, source, format, folder.absolute().name, license)
    return str(folder)


def _write(folder: Path, source: Source, format: str, place: str, license: str | None) -> None:
    from cl_sr.export.card import write_card
    from cl_sr.export.formats import KINDS

    kind = KINDS[format]
    kind.write(folder, source)
    for file in source.files if format == "cl-sr" else []:
        warnings.warn(
            f"config.json names {file}: whoever loads this must have it at that path", stacklevel=2
        )
    write_card(
        folder,
        source,
        name=place.removeprefix("hf:").partition("@")[0].rpartition("/")[2],
        place=place,
        license=license,
        use=kind.use(source, place),
        contents=kind.contents(folder),
        limits=kind.limits(source),
    )


def _check_folder(folder: Path, run: Path, overwrite: bool) -> None:
    """Refuse a place that cannot be taken, changing nothing.

    Raises:
        InputError: with the remedy.
    """
    if folder.name in ("", ".."):
        raise InputError(f"{folder}: give the folder a name, as in --to weights")
    if folder.resolve().is_relative_to(run.resolve()):
        raise InputError(f"{folder} is inside the run: choose another --to")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: choose another --to")
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if there and not overwrite:
        raise InputError(f"{folder} is not empty: choose another --to, or add --overwrite")
    others = [name for name in there if name not in WRITTEN and not name.endswith("_gen.pth")]
    if others:
        raise InputError(
            f"{folder} has {others[0]}, which no export writes: --overwrite replaces exports only"
        )
    check_writable(folder)


@contextmanager
def _written(place: object) -> Iterator[None]:
    """A full disk is told in a line."""
    from safetensors import SafetensorError

    try:
        yield
    except InputError:
        raise
    except (OSError, SafetensorError) as error:
        raise InputError(f"cannot write {place}: {error}; make room, or choose another") from error
