"""The base class of strategies: the plug-in API.

A strategy is one frozen dataclass in one file. Its fields are its options; it overrides the hooks
that it needs and no others:

    @dataclass(frozen=True)
    class Anchor(Strategy):
        '''One line that `cl-sr list strategies` shows.'''

        strength: float = option(0.1, "how much")

        def begin(self, template, memory):
            if template.number > 0:
                memory["start"] = template.weights().detach()

        def penalty(self, template, memory):
            if "start" not in memory:
                return 0.0
            return self.strength * (template.weights() - memory["start"]).square().sum()

The object itself never changes: one strategy describes a run, and many runs may share it. What it
remembers is in `memory`, a dictionary of its own that is saved with every checkpoint, so that a
run that is stopped goes on with the same bits. It holds tensors and JSON values (or dictionaries
of them) under names without `/`. What is in it between two experiences is what is kept from the
past, and a comparison counts its bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from cl_sr.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from cl_sr.config import EvalConfig, RunConfig
    from cl_sr.training.model import Model
    from cl_sr.training.packed import Seen
    from cl_sr.training.template import SR3Template

    Net = Callable[[Tensor, Tensor | None, Tensor], Tensor]

Memory = dict[str, Any]

# The hooks that only one of several strategies can have, and what each decides.
OWNED = {
    "model": "what is trained",
    "curriculum": "the experiences",
    "budget": "the iterations",
    "window": "the time-steps to train on",
    "sampler": "how images are sampled",
    "denoiser": "the weights at inference",
    "restore": "the weights at inference",
}


def option(default: Any, help: str) -> Any:
    """A field of a strategy with a line of help."""
    return field(default=default, metadata={"help": help})


def rehearsed(size: int, ratio: float) -> int:
    """How many images of a batch of `size` are of the past, at least one, with room for a new one.

    Raises:
        InputError: a batch of one image has no room.
    """
    if size < 2:
        raise InputError("train.batch_size=1 has no room for images of the past: raise it")
    return min(max(round(ratio * size), 1), size - 1)


def drawn_pairs(memory: Memory, count: int, flip: bool = True) -> Tensor | None:
    """`count` of `memory["pairs"]`, uint8 `(N, 6, H, W)`, at random; None without any.

    With `flip` half of them are mirrored.
    """
    import torch

    if "pairs" not in memory:
        return None
    pairs: Tensor = memory["pairs"]
    # By the CPU's generator, wherever they lie: a run that is resumed draws the same.
    chosen = pairs[torch.randint(len(pairs), (count,)).to(pairs.device)]
    if flip:
        mirrored = (torch.rand(count) < 0.5).to(pairs.device)
        chosen[mirrored] = chosen[mirrored].flip(-1)
    return chosen


@dataclass(frozen=True)
class Strategy:
    """What is done at each experience of a stream. The base class is plain fine-tuning.

    Tensors and Avalanche are imported inside the hooks, so that listing strategies stays quick.
    """

    # Whether the first experience is trained as by plain fine-tuning, and is only remembered
    # afterwards: then the runs of a sweep train it once and start from its weights (`--init`).
    plain_start: ClassVar[bool] = False

    @classmethod
    def title(cls) -> str:
        """The name on the command line: the class's name with hyphens."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", cls.__name__).lower()

    @classmethod
    def gather(cls, values: dict[str, str]) -> dict[str, str]:
        """The options by field, from those by name on the command line."""
        return values

    # Before the run: what is trained, on what, for how long

    def check(self, steps: int) -> None:
        """Refuse options that cannot work with a schedule of `steps` time-steps.

        Raises:
            InputError: with the remedy.
        """

    def check_net(self, shapes: Mapping[str, Sequence[int]]) -> None:
        """Refuse options that cannot work with a net.

        Args:
            shapes: of its weights, by name.

        Raises:
            InputError: with the remedy.
        """

    def conflict(self, other: Strategy) -> str:
        """Why this strategy cannot be composed with `other`; empty where it can."""
        return ""

    def model(self, config: RunConfig) -> Model:
        """What is trained: SR3 with random weights, or from `config.init` where that is given.

        Raises:
            InputError: what the configuration names cannot be built or read.
        """
        from cl_sr.training.model import build_model, read_model

        return read_model(config) if config.init else build_model(config)

    def curriculum(self, domains: Sequence[str]) -> list[tuple[str, ...]]:
        """The domains of each training experience, from those of the stream in order.

        None at all is a run that evaluates only.
        """
        return [(domain,) for domain in domains]

    def budget(self, domains: Sequence[str], iterations: Mapping[str, int]) -> int:
        """Iterations of an experience on `domains`, from those of each domain of the stream."""
        return sum(iterations[domain] for domain in domains)

    def window(self, experience: int, steps: int) -> tuple[int, int]:
        """The time-step window to train on: t in `{start + 1, ..., stop}`, 0 is low noise.

        Args:
            experience: number of the experience, from 0.
            steps: T of the schedule.
        """
        return 0, steps

    @property
    def paces(self) -> bool:
        """Whether it changes the learning rate alone, and so is in nobody's way."""
        return False

    @property
    def needs_past(self) -> bool:
        """Whether it does nothing unless another strategy rehearses images of the past."""
        return False

    @property
    def contiguous(self) -> bool:
        """Whether weights must lie in memory as PyTorch has them, not with their channels last."""
        return False

    def learning_rate(self, experience: int, rate: float) -> float:
        """The learning rate of an experience, from the configured one."""
        return rate

    def plugins(self, template: SR3Template) -> list[Any]:
        """Avalanche plugins (`SupervisedPlugin`) to train with, made anew for each run.

        One that remembers something has `state_dict` and `load_state_dict` (flat, of tensors and
        JSON values), so that the run can be resumed.
        """
        return []

    # Around an experience. `template.number` is the experience's number, from 0.

    def hold_out(self, template: SR3Template, length: int) -> int:
        """How many of an experience's `length` images are kept from training, to choose on."""
        return 0

    def adapt(self, template: SR3Template, memory: Memory) -> None:
        """Change the model before an experience: adapters, freezing (`requires_grad_(False)`).

        Also called when a run is resumed, with the memory but not the weights of then: so it
        depends on nothing else.
        """

    def begin(self, template: SR3Template, memory: Memory) -> None:
        """Before the first iteration of an experience."""

    def settle(self, template: SR3Template, memory: Memory) -> None:
        """Change the weights for good after the last iteration, when they are the moving average.

        What `adapt` put into the net must be taken out again: the net of a checkpoint is plain.
        """

    def end(self, template: SR3Template, memory: Memory) -> None:
        """After an experience, when every strategy has settled: the time to remember something."""

    # In an iteration

    def rehearsal(self, template: SR3Template, memory: Memory, size: int) -> Tensor | None:
        """Images of the past that take the place of new ones in the next batch.

        A strategy with this hook may have a field `ratio`: its share of the batch, of which several
        strategies together must leave some to new images.

        Args:
            template: the run.
            memory: this strategy's.
            size: of the whole batch.

        Returns:
            uint8 `(n, 6, H, W)`, condition over image, with n < size; or None.
        """
        return None

    def target(self, template: SR3Template, memory: Memory, seen: Seen) -> Tensor:
        """What the net should answer, `(B, 3, H, W)`, from what it was shown in this iteration."""
        return seen.truth

    def penalty(self, template: SR3Template, memory: Memory) -> Tensor | float:
        """Added to the loss. `template.seen` is what the net was shown in this iteration."""
        return 0.0

    # At inference

    def sampler(self, evaluation: EvalConfig) -> tuple[str, int | None]:
        """The name and steps of the sampler that `restore` uses, for the report."""
        return evaluation.sampler, evaluation.steps

    def denoiser(self, template: SR3Template, memory: Memory, lr: Tensor) -> Net:
        """The net to restore low-resolution images `lr` with, `(B, 3, h, w)` in [-1, 1]."""
        return template.inference_net

    def restore(
        self,
        template: SR3Template,
        memory: Memory,
        condition: Tensor,
        lr: Tensor,
        seeds: Sequence[int],
    ) -> Tensor:
        """High-resolution images, for evaluation.

        Args:
            template: with the net, and how to sample.
            memory: this strategy's.
            condition: the upsampled low-resolution images, `(B, 3, H, W)` in [-1, 1].
            lr: the low-resolution images, `(B, 3, H / scale, W / scale)` in [-1, 1].
            seeds: one an image.

        Returns:
            `(B, 3, H, W)`, about [-1, 1].
        """
        return template.sample(condition, seeds, self.denoiser(template, memory, lr))

    def extra_parameters(self, memory: Memory) -> int:
        """How many numbers inference needs beside one plain net."""
        return 0

    def export(self, template: SR3Template, memory: Memory, folder: Path) -> None:
        """Write what others can use into the folder of a checkpoint after an experience."""
