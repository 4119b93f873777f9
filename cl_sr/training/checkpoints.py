"""The checkpoints of a run: when one is written, which are kept, which is the last good one."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from cl_sr.errors import InputError
from cl_sr.files import read_json, remove_leftovers, whole_folder
from cl_sr.models.checkpoint import GAMMAS, describe, write_model
from cl_sr.models.description import STATE_FORMAT, TENSORS, VALUES, WEIGHTS, Description
from cl_sr.models.weights import read_weights
from cl_sr.strategies import Composition
from cl_sr.strategies.learner import Learner
from cl_sr.training import state
from cl_sr.training.loggers import JSONLinesLogger
from cl_sr.training.rng import RandomState

# States between two experiences are read of this format, too.
OLD_BETWEEN = 3


class Written(state.Trained, Protocol):
    """What a checkpoint is written of: a `cl_sr.training.template.DiffusionTemplate`."""

    strategy: Composition

    @property
    def learner(self) -> Learner: ...


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
        return bool(self.values["experience_iteration"] == 0)

    def put_back(self, restore: Callable[..., None], trained: state.Trained) -> None:
        """Restore it by a function of `cl_sr.training.state`; it may hold anything.

        Raises:
            InputError: it is not of such a template.
        """
        try:
            restore(trained, self.weights, self.tensors, self.values)
        except (
            KeyError, ValueError, TypeError, RuntimeError, AttributeError, OverflowError
        ) as error:  # fmt: skip
            raise InputError(
                f"{self.path} is damaged or of another model ({type(error).__name__}: {error}): "
                "remove it to go on from an earlier one"
            ) from error


class Checkpoints:
    """Writes a run's checkpoints and reads the last good one.

    Each is a folder that `cl_sr.load` and `load_sr3` read, and has beside the weights what a run
    needs to be taken up: safetensors and JSON. One is named after each experience; those within
    experiences are `iteration-NNNNNN`, and of those the newest `keep` stay. The one after the last
    iteration of all is among them: from it a longer run, or one of further domains, goes on.

    Args:
        folder: of the checkpoints.
        every: iterations between two; 0: not by iterations.
        minutes: between two; 0: not by time.
        keep: how many within experiences stay; 0: all.
        results: the logger of `metrics.jsonl`, the length of which is part of a state.
        about: what is the same in the description of all: degradation, scale, strategy, sampling.
        learnt: what each experience is called once it is learnt.
    """

    def __init__(
        self,
        folder: Path,
        every: int,
        minutes: float,
        keep: int,
        results: JSONLinesLogger,
        about: dict[str, Any],
        learnt: Sequence[str],
    ) -> None:
        self.folder = folder
        self.every = every
        self.seconds = minutes * 60
        self.keep = keep
        self.results = results
        self.about = about
        self.learnt = list(learnt)
        self._last = time.monotonic()
        self._written: Path | None = None
        self._passing: Path | None = None

    def due(self, iteration: int) -> bool:
        """Whether one is to be written after this many iterations of the run."""
        by_time = self.seconds > 0 and time.monotonic() - self._last >= self.seconds
        return by_time or (self.every > 0 and iteration % self.every == 0)

    def write(self, trained: Written, random: RandomState, passing: bool = False) -> None:
        """One within an experience, and remove the oldest.

        Args:
            trained: the state of which is written.
            random: the generators as training left them.
            passing: only to bridge the last evaluation of an experience; it goes after that.

        Raises:
            InputError: the disk is full, or may not be written.
        """
        path = self.folder / f"iteration-{trained.clock.train_iterations:06d}"
        if path != self._written:
            self._write(path, trained, *state.capture(trained, random))
            self._written = path
            self._passing = path if passing else None
        self._last = time.monotonic()
        within = sorted(self.folder.glob("iteration-*"), key=_iteration)
        for old in within[: -self.keep] if self.keep and not passing else []:
            shutil.rmtree(old, ignore_errors=True)

    def write_end(self, trained: Written, name: str) -> None:
        """The one after an experience.

        Raises:
            InputError: the disk is full, or may not be written.
        """
        random = RandomState.now()
        self._write(self.folder / name, trained, *state.capture_between(trained, random))
        self._last = time.monotonic()
        if self._passing is not None:
            shutil.rmtree(self._passing, ignore_errors=True)
            self._passing = None

    def _write(
        self, path: Path, trained: Written, tensors: state.Tensors, values: state.Values
    ) -> None:
        values["metrics"] = self.results.lines[: self.results.settled]
        try:
            with whole_folder(path) as partial:
                model = trained.model.model
                write_model(partial, model, self._describe(trained), trained.learner.state())
                if values["experience_iteration"] == 0:
                    trained.strategy.export(trained.learner, trained.memory, partial)
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

    def _describe(self, trained: Written) -> Description:
        learnt = self.learnt[: trained.clock.train_exp_counter]
        domains = [domain for name in learnt for domain in name.split("+")]
        return replace(
            describe(trained.model.model),
            domains=list(dict.fromkeys(domains)),
            iterations=trained.clock.train_iterations,
            **self.about,
        )

    def newest(self) -> tuple[Saved | None, list[str]]:
        """The last good checkpoint, and what was wrong with later ones.

        Raises:
            InputError: the last one is of another version.
        """
        remove_leftovers(self.folder)
        found: list[tuple[tuple[int, int, int], Path, dict[str, Any]]] = []
        others: list[tuple[tuple[int, int, int], Path]] = []
        damaged: list[str] = []
        for path in self.folder.glob("*/" + VALUES):
            try:
                if path.is_symlink() or path.parent.is_symlink():
                    raise InputError(f"{path} is a link")
                values = read_json(path)
                place = values["experience"], values["experience_iteration"], values["iteration"]
                if not all(type(n) is int for n in (values["format"], *place)):
                    raise InputError(f"{path} is not of cl-sr")
                between = values["format"] == OLD_BETWEEN and values["experience_iteration"] == 0
                ours = values["format"] == STATE_FORMAT or between
                if ours:
                    found.append((place, path.parent, values))
                else:
                    others.append((place, path.parent))
            except InputError as error:
                damaged.append(str(error))
            except KeyError as error:
                damaged.append(f"{path} has no {error}")
        for place, path in sorted(others, reverse=True):
            if all(place > earlier for earlier, *_ in found):
                raise InputError(
                    f"{path} was written within a domain by another version of cl-sr, which alone "
                    "can go on from it: take that version, or remove it to go on from an earlier "
                    "checkpoint"
                )
        for _, path, values in sorted(found, key=lambda item: item[0], reverse=True):
            try:
                return _read(path, values), damaged
            # Bytes that are no safetensors file make it raise many kinds.
            except Exception as error:
                damaged.append(f"{path}: {error}")
        return None, damaged

    def after(self, name: str) -> Saved:
        """The one after an experience.

        Raises:
            InputError: it is absent or damaged.
        """
        path = self.folder / name
        try:
            return _read(path, read_json(path / VALUES))
        except Exception as error:  # as above
            raise InputError(f"{path} is absent or damaged: {error}") from error


def _read(path: Path, values: dict[str, Any]) -> Saved:
    weights = read_weights(path / WEIGHTS)
    weights.pop(GAMMAS, None)
    return Saved(path, weights, load_file(path / TENSORS), values)


def _iteration(path: Path) -> int:
    digits = path.name.removeprefix("iteration-")
    return int(digits) if digits.isdigit() else -1
