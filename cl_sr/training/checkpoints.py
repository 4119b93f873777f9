"""The checkpoints of a run: when one is written, which are kept, which is the last good one."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from cl_sr.errors import InputError
from cl_sr.evaluation.loggers import JSONLinesLogger
from cl_sr.files import read_json, remove_leftovers, whole_folder
from cl_sr.models.checkpoint import GAMMAS, write_sr3
from cl_sr.models.weights import read_weights
from cl_sr.training import state
from cl_sr.training.rng import RandomState

if TYPE_CHECKING:
    from cl_sr.training.template import SR3Template

TENSORS, VALUES = "training.safetensors", "training.json"


@dataclass(frozen=True)
class Saved:
    """A checkpoint in memory: see `cl_sr.training.state`."""

    path: Path
    weights: dict[str, Tensor]
    tensors: dict[str, Tensor]
    values: dict[str, Any]

    @property
    def between(self) -> bool:
        """Whether it was written between two experiences."""
        return self.values["experience_iteration"] == 0


class Checkpoints:
    """Writes a run's checkpoints and reads the last good one.

    Each is a folder with weights as `load_sr3` reads them, and what a run needs beside them to be
    taken up: safetensors and JSON. One is named after each experience; those within experiences
    are `iteration-NNNNNN`, and of those the newest `keep` stay.

    Args:
        folder: of the checkpoints.
        every: iterations between two; 0: not by iterations.
        minutes: between two; 0: not by time.
        keep: how many within experiences stay; 0: all.
        results: the logger of `metrics.jsonl`, the length of which is part of a state.
    """

    def __init__(
        self, folder: Path, every: int, minutes: float, keep: int, results: JSONLinesLogger
    ) -> None:
        self.folder = folder
        self.every = every
        self.seconds = minutes * 60
        self.keep = keep
        self.results = results
        self._last = time.monotonic()
        self._written: Path | None = None
        self._passing: Path | None = None

    def due(self, iteration: int) -> bool:
        """Whether one is to be written after this many iterations of the run."""
        by_time = self.seconds > 0 and time.monotonic() - self._last >= self.seconds
        return by_time or (self.every > 0 and iteration % self.every == 0)

    def write(self, template: SR3Template, passing: bool = False) -> None:
        """One within an experience, and remove the oldest.

        Args:
            template: the state of which is written.
            passing: only to bridge the last evaluation of an experience; it goes after that.

        Raises:
            InputError: the disk is full, or may not be written.
        """
        random = template.random_before_evaluation or RandomState.now()
        path = self.folder / f"iteration-{template.clock.train_iterations:06d}"
        if path != self._written:
            self._write(path, template, *state.capture(template, random))
            self._written = path
            self._passing = path if passing else None
        self._last = time.monotonic()
        within = sorted(self.folder.glob("iteration-*"), key=_iteration)
        for old in within[: -self.keep] if self.keep and not passing else []:
            shutil.rmtree(old, ignore_errors=True)

    def write_end(self, template: SR3Template, name: str) -> None:
        """The one after an experience.

        Raises:
            InputError: the disk is full, or may not be written.
        """
        random = RandomState.now()
        self._write(self.folder / name, template, *state.capture_between(template, random))
        self._last = time.monotonic()
        if self._passing is not None:
            shutil.rmtree(self._passing, ignore_errors=True)
            self._passing = None

    def _write(
        self, path: Path, template: SR3Template, tensors: state.Tensors, values: state.Values
    ) -> None:
        values["metrics"] = self.results.lines[: self.results.settled]
        scale = template.scale if template.model.conditional else None
        net: Any = template.net
        model = template.model
        try:
            with whole_folder(path) as partial:
                weights = template.inference_state
                write_sr3(partial, net, model.parametrization, model.schedule, scale, weights)
                if values["experience_iteration"] == 0:
                    template.strategy.export(template, template.memory, partial)
                # Cloned, as two names may stand for one tensor.
                save_file(
                    {name: t.detach().clone().cpu().contiguous() for name, t in tensors.items()},
                    partial / TENSORS,
                )
                (partial / VALUES).write_text(json.dumps(values), encoding="utf-8")
        except (TypeError, ValueError, AttributeError, RecursionError) as error:
            raise InputError(
                f"the state of a plugin is not flat, of tensors and JSON values: {error}"
            ) from error
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"cannot write the checkpoint {path}: {error}; the last good one stays: make room, "
                "then take the run up with --resume"
            ) from error

    def newest(self) -> tuple[Saved | None, list[str]]:
        """The last good checkpoint, and what was wrong with later ones."""
        remove_leftovers(self.folder)
        found, damaged = [], []
        for path in self.folder.glob("*/" + VALUES):
            try:
                if path.is_symlink() or path.parent.is_symlink():
                    raise InputError("it is a link")
                values = read_json(path)
                place = values["experience"], values["experience_iteration"], values["iteration"]
                if not all(type(n) is int for n in (values["format"], *place)) or (
                    values["format"] != state.FORMAT
                ):
                    raise InputError(f"{path} is not of this version of cl-sr")
                found.append((place, path.parent, values))
            except (InputError, KeyError) as error:
                damaged.append(f"{path}: {error}")
        for _, path, values in sorted(found, key=lambda item: item[0], reverse=True):
            try:
                weights = read_weights(path / "model.safetensors")
                weights.pop(GAMMAS, None)
                return Saved(path, weights, load_file(path / TENSORS), values), damaged
            # Bytes that are no safetensors file make it raise many kinds.
            except Exception as error:
                damaged.append(f"{path}: {error}")
        return None, damaged


def _iteration(path: Path) -> int:
    digits = path.name.removeprefix("iteration-")
    return int(digits) if digits.isdigit() else -1
