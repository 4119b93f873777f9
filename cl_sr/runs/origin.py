"""What a run is made from: its configuration, its images, and the run that it goes on from."""

from __future__ import annotations

import shutil
from pathlib import Path

from cl_sr.data.prepare import manifest
from cl_sr.errors import InputError
from cl_sr.runs.descent import Descent
from cl_sr.runs.environment import describe, manifest_digest
from cl_sr.runs.folder import RunFolder
from cl_sr.runs.loading import Loaded


def write_origin(folder: RunFolder, loaded: Loaded, descent: Descent | None = None) -> None:
    """Enough to repeat the run, and to tell whether it was repeated."""
    listing = manifest(list(loaded.data.values()), loaded.plan.folders)
    directions = {metric.name: metric.higher_is_better for metric in loaded.metrics}
    about = describe(loaded.device, loaded.data, listing, directions)
    if descent is not None:
        about["parent"] = descent.describe()
    folder.write("config.yaml", loaded.config.to_yaml())
    folder.write("manifest.csv", listing)
    folder.write_json("env.json", about)


def check_origin(folder: RunFolder, loaded: Loaded) -> None:
    """Refuse to go on with other images than those that the run began with.

    Raises:
        InputError: with the remedy.
    """
    listing = manifest(list(loaded.data.values()), loaded.plan.folders)
    if folder.read_json("env.json").get("manifest_sha256") != manifest_digest(listing):
        raise InputError(
            f"the images are no longer those that {folder.path} began with (its manifest.csv lists "
            "them): put them back, or start a new run"
        )


def check_images(descent: Descent, loaded: Loaded) -> None:
    """Refuse other images than the parent's, of the domains that it had.

    Raises:
        InputError: with the remedy.
    """
    parent = descent.parent
    listing = manifest([loaded.data[name] for name in parent.domains], loaded.plan.folders)
    if parent.record.environment.get("manifest_sha256") != manifest_digest(listing):
        raise InputError(
            f"the images of {', '.join(parent.domains)} are not those that {parent.path} was made "
            "from (its manifest.csv lists them): give their folders with --data DOMAIN=DIR"
        )


def descend(descent: Descent, loaded: Loaded, path: Path, overwrite: bool) -> RunFolder:
    """The folder of a run that goes on from another, with all that it needs of that.

    Args:
        descent: from the parent.
        loaded: the run.
        path: of the new folder.
        overwrite: replace a run in it.
    """

    def fill(folder: Path) -> None:
        for found in descent.files():
            target = folder / found.relative_to(descent.parent.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            if found.is_dir():
                shutil.copytree(found, target)
            elif found.is_file():
                shutil.copyfile(found, target)
        earlier, costs = descent.learnt[:-1], descent.parent.record.costs
        known = {name: costs[name] for name in earlier if name in costs}
        RunFolder(folder).write_json("costs.json", known)
        write_origin(RunFolder(folder), loaded, descent)

    return RunFolder.create(path, overwrite, loaded.plan.first_files(), fill)
