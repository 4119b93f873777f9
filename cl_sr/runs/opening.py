"""What restores images, from anything that has weights: a run, a checkpoint, a file, the hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_sr.errors import InputError
from cl_sr.models.description import CONFIG, is_checkpoint, read_description
from cl_sr.models.hub import local
from cl_sr.models.places import weights_at
from cl_sr.runs.record import Record

if TYPE_CHECKING:
    from cl_sr.inference import Restorer


def open_restorer(
    place: Path | str,
    after: str | None = None,
    scale: int | None = None,
    *,
    device: str = "auto",
    precision: str | None = None,
    batch: int = 64,
    **arguments: Any,
) -> Restorer:
    """See `cl_sr.load`. What can be refused without torch is."""
    path = weights_at(local(place))
    if path.name == CONFIG and is_checkpoint(path.parent):
        path = path.parent
    options: dict[str, Any] = {"device": device, "precision": precision, "batch": batch}
    is_run = (path / "status.json").is_file()
    if after is not None and not is_run:
        raise InputError(f"{place} is no run: {after!r} tells a checkpoint of a run")
    if path.is_file():
        from cl_sr.inference.public import load_file

        return load_file(path, scale, **options, **arguments)
    if arguments:
        raise InputError(
            f"{place} tells its architecture itself: {', '.join(arguments)} is for a *_gen.pth"
        )
    if is_run:
        from cl_sr.runs.restoring import restorer_of

        found = restorer_of(Record(path), after, **options)
    elif is_checkpoint(path):
        about = read_description(path)  # what is damaged there needs no torch to be told
        from cl_sr.inference import load_restorer

        found = load_restorer(path, description=about, **options)
    elif _is_diffusers(path):
        raise InputError(
            f"{place} is of diffusers: if it is a prior, cl-sr zero-shot --prior takes it (in "
            "Python, cl_sr.models.load_prior)"
        )
    else:
        raise InputError(
            f"{place} is neither a run nor a checkpoint: give a run's folder, such as runs/NAME, "
            "or runs/NAME/checkpoints/DOMAIN"
        )
    if scale not in (None, found.scale):
        raise InputError(f"{place} was trained for scale {found.scale}, not {scale}")
    return found


def _is_diffusers(folder: Path) -> bool:
    return (folder / "model_index.json").is_file() or any(folder.glob("*diffusion_pytorch_model*"))
