"""What is exported: one state of a run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from cl_sr.errors import InputError
from cl_sr.models.description import Description
from cl_sr.runs.checkpoint import checkpoint_of
from cl_sr.runs.record import Record
from cl_sr.strategies import Choice, Composition, Experts, Memory, Strategy, compose, read_choices
from cl_sr.strategies.choice import split_file


@dataclass(frozen=True)
class Source:
    """A checkpoint of a run.

    Attributes:
        record: the run.
        folder: of the checkpoint.
        about: what it says of itself, with the precision of the run.
    """

    record: Record
    folder: Path
    about: Description

    @classmethod
    def find(cls, record: Record, after: str | None) -> Source:
        """The state after a domain; None: the last one.

        Raises:
            InputError: the run has none such.
        """
        found = checkpoint_of(record, after)
        if found is None:
            raise InputError(
                f"{record.path} has no checkpoint: nothing was trained yet, or its prior is a "
                "file, which is exported by copying it"
            )
        folder, about = found
        return cls(record, folder, replace(about, precision=record.settings["train"]["precision"]))

    @property
    def name(self) -> str:
        """What was learnt last, or the name of a checkpoint within an experience."""
        return self.folder.name

    @cached_property
    def composition(self) -> Composition:
        """The strategies that it was trained by."""
        return compose(*self._choices)

    @cached_property
    def memory(self) -> Memory:
        """All that they remember."""
        from cl_sr.inference.loading import read_memory

        return read_memory(self.folder)

    @property
    def several(self) -> bool:
        """Whether images are restored by more than one net."""
        kind = type(self.composition.experts(self.memory))
        return issubclass(kind, Experts) and (kind.route, kind.at) != (Experts.route, Experts.at)

    @cached_property
    def portable(self) -> tuple[Description, Memory]:
        """The description and the memory that others can use.

        The memory is what inference needs. Strategies from files that inference does not ask are
        left out: others do not have these files.
        """
        kept = {
            part.title(): choice
            for part, choice in zip(self.composition.parts, self._choices, strict=True)
            if split_file(choice.name) is None or type(part).experts is not Strategy.experts
        } or {"finetune": Choice("finetune")}
        memory = {
            f"{list(kept).index(key.partition('-')[2])}-{key.partition('-')[2]}": own
            for key, own in self.composition.travels(self.memory).items()
        }
        return replace(self.about, strategy=[choice.plain() for choice in kept.values()]), memory

    @property
    def files(self) -> list[str]:
        """The user's own files that whoever loads it must have, too."""
        about, _ = self.portable
        names = [about.family, *(choice.name for choice in read_choices(about.strategy))]
        return [name for name in names if ".py" in name]

    @property
    def _choices(self) -> tuple[Choice, ...]:
        return read_choices(self.about.strategy or "finetune")
