"""Which runs compare: what they must have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from cl_sr.config import key_names
from cl_sr.errors import InputError
from cl_sr.sweeps.finished import Finished

# In what runs may differ and their figures still compare. Of the iterations, those of the later
# domains must be the same, and those of the first where they are not 0 (with --init).
FREE = {"seed", "strategy", "device", "init", "data.root", "data.folders", "data.memory_gb",
        "train.workers", "train.iterations", "train.on_divergence", "eval.every", "eval.samples",
        "eval.batch_size", "eval.metrics", "checkpoint.every", "checkpoint.minutes",
        "checkpoint.keep"}  # fmt: skip
SCHEDULE = {"diffusion.schedule", "diffusion.start", "diffusion.end"}  # or that of the weights
# What changes the images that a run has.
OTHER_IMAGES = {"data.split", "data.split_seed", "data.shares", "data.copies", "data.root",
                "data.folders", "data.size", "data.channels", "data.standin_images",
                "eval.split"}  # fmt: skip


def check_alike(runs: Sequence[Finished], by: Sequence[str]) -> None:
    """Refuse runs whose figures do not compare.

    Args:
        runs: at least one.
        by: the keys that tell rows apart: in these they may differ.

    Raises:
        InputError: with the first difference.
    """
    first = runs[0]

    def refuse(run: Finished, why: str) -> NoReturn:
        raise InputError(f"{first.path} and {run.path} do not compare: {why}")

    free = FREE | set(by)
    for run in runs[1:]:
        # The weights of --init bring their own, which the configuration does not tell.
        schedules = {r.setting("diffusion.schedule") for r in (first, run)}
        skip = free | (SCHEDULE if "init" in schedules else set())
        for key in key_names(first.record.settings, run.record.settings):
            ours, theirs = first.setting(key), run.setting(key)
            if key not in skip and ours != theirs:
                makes = "compares each by itself" if key == "stream" else "makes rows of it"
                refuse(run, f"{key} is {ours} and {theirs}; --by {key} {makes}")
        if "train.iterations" not in by:
            (ours, *our_later), (theirs, *their_later) = first.iterations, run.iterations
            if our_later != their_later:
                given = f"{our_later} and {their_later}"
                refuse(run, f"train.iterations after the first domain are {given}")
            if ours and theirs and ours != theirs:
                refuse(run, f"train.iterations of the first domain are {ours} and {theirs}")
        lists = [r.record.environment["manifest_sha256"] for r in (first, run)]
        if lists[0] != lists[1] and not OTHER_IMAGES & set(by):
            domains = [d for d in first.tested if first.tested[d] != run.tested.get(d)]
            refuse(run, f"other images of {' and '.join(domains)}" if domains else "other images "
                   "to train on (see their manifest.csv)")  # fmt: skip


def as_text(value: Any) -> str:
    """A value of the grid as it is shown."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {as_text(part)}" for name, part in value.items())
    return value if isinstance(value, str) else json.dumps(value)
