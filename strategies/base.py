"""The base class of strategies: the plug-in API.

A strategy is one frozen dataclass in one file. Its fields are its options; it overrides the hooks
that it needs and no others:

    @dataclass(frozen=True)
    class Anchor(Strategy):
        '''One line that `cl-sr list strategies` shows.'''

        strength: float = option(0.1, "how much")

        traits = Traits(does=frozenset({Does.HOLDS_WEIGHTS}))

        def begin(self, learner, memory):
            if learner.number > 0:
                memory["start"] = learner.weights().detach()

        def penalty(self, learner, memory):
            if "start" not in memory:
                return 0.0
            return self.strength * (learner.weights() - memory["start"]).square().sum()

The object itself never changes: one strategy describes a run, and many runs may share it. What it
remembers is in `memory`, a dictionary of its own that is saved with every checkpoint, so that a
run that is stopped goes on with the same bits. It holds tensors and JSON values (or dictionaries
of them) under names without `/`. What is in it between two experiences is what is kept from the
past, and a comparison counts its bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from cl_sr.errors import InputError
from cl_sr.strategies.memory import Memory
from cl_sr.strategies.traits import Traits

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from cl_sr.data.samples import Samples
    from cl_sr.models.objective import Seen
    from cl_sr.strategies.learner import Learner

# The hooks that only one of several strategies can have, and what each decides.
OWNED = {
    "curriculum": "the experiences",
    "window": "the time-steps to train on",
    "experts": "the weights at inference",
}


def option(default: Any, help: str) -> Any:
    """A field of a strategy with a line of help."""
    return field(default=default, metadata={"help": help})


def other_options(help: str) -> Any:
    """A field that takes all options that are no fields, as a dictionary."""
    return field(default_factory=dict, metadata={"help": help, "others": True})


def rehearsed(size: int, ratio: float) -> int:
    """How many images of a batch of `size` are of the past, at least one, with room for a new one.

    Raises:
        InputError: a batch of one image has no room.
    """
    if size < 2:
        raise InputError("train.batch_size=1 has no room for images of the past: raise it")
    return min(max(round(ratio * size), 1), size - 1)


class Experts:
    """Whose weights restore an image. At inference a strategy is asked nothing else.

    The base class is one expert: the net as it is.

    Attributes:
        extra_parameters: how many numbers inference needs beside one plain net.
    """

    extra_parameters: int = 0

    def __init__(self, extra_parameters: int = 0) -> None:
        self.extra_parameters = extra_parameters

    def route(self, lr: Tensor) -> Tensor:
        """The number of the expert for each low-resolution image.

        Args:
            lr: `(B, 3, h, w)` in [-1, 1].

        Returns:
            Whole numbers, `(B,)`.
        """
        import torch

        return torch.zeros(len(lr), dtype=torch.long, device=lr.device)

    def at(self, chosen: Tensor, t: Tensor) -> Tensor:
        """The expert that answers at a time-step, where that matters.

        Args:
            chosen: from `route`, `(B,)`.
            t: from 1 (low noise) to T, whole numbers, `(B,)`.
        """
        return chosen

    def weights(self, number: int) -> Mapping[str, Tensor] | None:
        """The weights of an expert, by the names of the plain net; None: those that it has now."""
        return None


@dataclass(frozen=True)
class Strategy:
    """What is done at each experience of a stream. The base class is plain fine-tuning.

    Tensors and Avalanche are imported inside the hooks, so that listing strategies stays quick.

    Attributes:
        traits: what others need to know of it; a property, where that depends on its options.
    """

    traits: ClassVar[Traits] = Traits()

    @classmethod
    def title(cls) -> str:
        """The name on the command line: the class's name with hyphens."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", cls.__name__).lower()

    # Before the run: whether it can be, on what, for how long

    def check(self, steps: int, shapes: Mapping[str, Sequence[int]] | None = None) -> None:
        """Refuse options that cannot work.

        It is called before torch is imported, without `shapes`, and when there is a net.

        Args:
            steps: T of the noise schedule.
            shapes: of the net's weights, by name.

        Raises:
            InputError: with the remedy.
        """

    def curriculum(self, iterations: Mapping[str, int]) -> list[tuple[tuple[str, ...], int]]:
        """The training experiences: the domains of each, and its iterations.

        None at all is a run that evaluates only.

        Args:
            iterations: of each domain of the stream, in order.
        """
        return [((domain,), count) for domain, count in iterations.items()]

    def window(self, experience: int, steps: int) -> tuple[int, int]:
        """The time-step window to train on: t in `{start + 1, ..., stop}`, 0 is low noise.

        Args:
            experience: number of the experience, from 0.
            steps: T of the schedule.
        """
        return 0, steps

    def plugins(self) -> list[Any]:
        """Avalanche plugins (`SupervisedPlugin`) to train with, made anew for each run.

        One that remembers something has `state_dict` and `load_state_dict` (flat, of tensors and
        JSON values), so that the run can be resumed. Its callbacks are given the template, whose
        `learner` is that of the hooks.
        """
        return []

    # Around an experience. `learner.number` is the experience's number, from 0.

    def adapt(self, learner: Learner, memory: Memory) -> None:
        """Change the model before an experience: adapters, freezing (`requires_grad_(False)`).

        The time, too, to hold out images (`learner.images.hold_out`) and to change the learning
        rate (`learner.lr`). Also called when a run is resumed, with the memory but not the weights
        of then: so it depends on nothing else.
        """

    def begin(self, learner: Learner, memory: Memory) -> None:
        """Before the first iteration of an experience."""

    def settle(self, learner: Learner, memory: Memory) -> None:
        """Change the weights for good after the last iteration, when they are the moving average.

        What `adapt` put into the net must be taken out again: the net of a checkpoint is plain.
        """

    def end(self, learner: Learner, memory: Memory) -> None:
        """After an experience, when every strategy has settled: the time to remember something."""

    # In an iteration

    def rehearsal(self, learner: Learner, memory: Memory, size: int) -> Samples | None:
        """Samples of the past that take the place of new ones in the next batch.

        A strategy with this hook may have a field `ratio`: its share of the batch, of which several
        strategies together must leave some to new images.

        Args:
            learner: the run.
            memory: this strategy's.
            size: of the whole batch.

        Returns:
            Fewer than `size`, or None.
        """
        return None

    def target(self, learner: Learner, memory: Memory, seen: Seen) -> Tensor:
        """What the net should answer, like `seen.truth`, to what it was shown in this iteration."""
        return seen.truth

    def penalty(self, learner: Learner, memory: Memory) -> Tensor | float:
        """Added to the loss. `learner.seen` is what the net was shown in this iteration."""
        return 0.0

    # Afterwards

    def experts(self, memory: Memory) -> Experts | None:
        """Whose weights restore an image; None: the net's as they are restore all.

        It is all that is asked of a strategy at inference, where there is no run: so it depends on
        what is remembered alone.
        """
        return None

    def export(self, learner: Learner, memory: Memory, folder: Path) -> None:
        """Write what others can use into the folder of a checkpoint after an experience."""
