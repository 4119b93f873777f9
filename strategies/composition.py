"""Several strategies as one: each hook calls those of its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, Any

from cl_sr.errors import InputError
from cl_sr.strategies.base import OWNED, Memory, Strategy

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from cl_sr.config import EvalConfig, RunConfig
    from cl_sr.strategies.base import Net
    from cl_sr.training.model import Model
    from cl_sr.training.packed import Seen
    from cl_sr.training.template import SR3Template


@dataclass(frozen=True)
class Composition(Strategy):
    """Strategies that act together, in order; each has a memory of its own.

    Each is called `part` here, by which `cl_sr.plugins.blame` tells whose hook has raised.

    Raises:
        InputError: two of them decide the same thing, or one says that it cannot work with another.
    """

    parts: tuple[Strategy, ...]

    def __post_init__(self) -> None:
        titles = [part.title() for part in self.parts]
        for title in titles:
            if titles.count(title) > 1 and title != "avalanche":
                raise InputError(f"strategy {title} is given twice: give it once, with all options")
        owners: dict[str, Strategy] = {}
        for hook, what in OWNED.items():
            for part in self.parts:
                if not _overrides(part, hook):
                    continue
                other = owners.setdefault(what, part)
                if other is not part:
                    raise InputError(
                        f"strategies {other.title()} and {part.title()} both decide {what}: "
                        "leave one out"
                    )
        ratios = [(part.title(), getattr(part, "ratio", None)) for part in self.rehearsing]
        shares = {title: ratio for title, ratio in ratios if isinstance(ratio, int | float)}
        if sum(shares.values()) >= 1 and len(shares) > 1:
            given = " and ".join(shares)
            raise InputError(f"{given} leave no room for new images: lower their ratios")
        for part in self.parts:
            if part.needs_past and not self.rehearsing:
                raise InputError(
                    f"strategy {part.title()} does nothing without images of the past, as it is "
                    "set: add --strategy replay"
                )
        for part, other in permutations(self.parts, 2):
            if not other.paces and (why := part.conflict(other)):
                raise InputError(
                    f"strategies {part.title()} and {other.title()} cannot work together: {why}"
                )

    @property
    def name(self) -> str:
        """The titles of the parts."""
        return "+".join(part.title() for part in self.parts)

    @property
    def rehearsing(self) -> list[Strategy]:
        """The parts that put images of the past into batches."""
        return [part for part in self.parts if _overrides(part, "rehearsal")]

    def _owner(self, *hooks: str) -> Strategy:
        """The part that has one of these hooks of its own, or the first."""
        owners = (part for part in self.parts if any(_overrides(part, hook) for hook in hooks))
        return next(owners, self.parts[0])

    def _each(self, memory: Memory) -> list[tuple[Strategy, Memory]]:
        return [(part, self._own(part, memory)) for part in self.parts]

    def _own(self, part: Strategy, memory: Memory) -> Memory:
        own: Memory = memory.setdefault(f"{self.parts.index(part)}-{part.title()}", {})
        return own

    def check(self, steps: int) -> None:
        for part in self.parts:
            part.check(steps)

    def check_net(self, shapes: Mapping[str, Sequence[int]]) -> None:
        for part in self.parts:
            part.check_net(shapes)

    def model(self, config: RunConfig) -> Model:
        part = self._owner("model")
        return part.model(config)

    def curriculum(self, domains: Sequence[str]) -> list[tuple[str, ...]]:
        part = self._owner("curriculum")
        return part.curriculum(domains)

    def budget(self, domains: Sequence[str], iterations: Mapping[str, int]) -> int:
        part = self._owner("budget")
        return part.budget(domains, iterations)

    def window(self, experience: int, steps: int) -> tuple[int, int]:
        part = self._owner("window")
        return part.window(experience, steps)

    @property
    def contiguous(self) -> bool:
        return any(part.contiguous for part in self.parts)

    def learning_rate(self, experience: int, rate: float) -> float:
        for part in self.parts:
            rate = part.learning_rate(experience, rate)
        return rate

    def plugins(self, template: SR3Template) -> list[Any]:
        from avalanche.core import BasePlugin

        plugins: list[Any] = []
        for part in self.parts:
            found = part.plugins(template)
            if not isinstance(found, list) or not all(isinstance(p, BasePlugin) for p in found):
                raise InputError(
                    f"strategy {part.title()}: plugins() must return a list of Avalanche "
                    f"plugins, not {found!r}"
                )
            plugins += found
        return plugins

    def hold_out(self, template: SR3Template, length: int) -> int:
        counts = [part.hold_out(template, length) for part in self.parts]
        for part, count in zip(self.parts, counts, strict=True):
            if type(count) is not int or not 0 <= count < length:
                raise InputError(
                    f"strategy {part.title()}: hold_out() must be a whole number of at most "
                    f"{length - 1} images, not {count!r}"
                )
        return max(counts)

    def adapt(self, template: SR3Template, memory: Memory) -> None:
        for part, own in self._each(memory):
            part.adapt(template, own)

    def begin(self, template: SR3Template, memory: Memory) -> None:
        for part, own in self._each(memory):
            part.begin(template, own)

    def settle(self, template: SR3Template, memory: Memory) -> None:
        for part, own in self._each(memory):
            part.settle(template, own)

    def end(self, template: SR3Template, memory: Memory) -> None:
        for part, own in self._each(memory):
            part.end(template, own)

    def rehearsals(self, template: SR3Template, memory: Memory, size: int) -> dict[str, Tensor]:
        """Images of the past, by the title of the strategy that gives them."""
        given = {
            part.title(): part.rehearsal(template, own, size) for part, own in self._each(memory)
        }
        return {title: images for title, images in given.items() if images is not None}

    def target(self, template: SR3Template, memory: Memory, seen: Seen) -> Tensor:
        for part, own in self._each(memory):
            target = part.target(template, own, seen)
            if getattr(target, "shape", None) != seen.truth.shape:
                raise InputError(
                    f"strategy {part.title()}: target() must return a tensor of shape "
                    f"{tuple(seen.truth.shape)}, such as seen.truth"
                )
            seen = seen.with_truth(target)
        return seen.truth

    def penalty(self, template: SR3Template, memory: Memory) -> Tensor | float:
        total: Tensor | float = 0.0
        for part, own in self._each(memory):
            added = part.penalty(template, own)
            if not isinstance(added, int | float) and getattr(added, "shape", None) != ():
                raise InputError(
                    f"strategy {part.title()}: penalty() must return one number, or a tensor of "
                    f"one, not {added!r:.80}"
                )
            total = total + added
        return total

    def sampler(self, evaluation: EvalConfig) -> tuple[str, int | None]:
        part = self._owner("sampler")
        return part.sampler(evaluation)

    def denoiser(self, template: SR3Template, memory: Memory, lr: Tensor) -> Net:
        part = self._owner("denoiser")
        return part.denoiser(template, self._own(part, memory), lr)

    def restore(
        self,
        template: SR3Template,
        memory: Memory,
        condition: Tensor,
        lr: Tensor,
        seeds: Sequence[int],
    ) -> Tensor:
        part = self._owner("restore", "denoiser")
        return part.restore(template, self._own(part, memory), condition, lr, seeds)

    def extra_parameters(self, memory: Memory) -> int:
        return sum(part.extra_parameters(own) for part, own in self._each(memory))

    def export(self, template: SR3Template, memory: Memory, folder: Path) -> None:
        for part, own in self._each(memory):
            part.export(template, own, folder)


def compose(strategy: Strategy) -> Composition:
    """A composition, of one part where it is none yet."""
    return strategy if isinstance(strategy, Composition) else Composition((strategy,))


def _overrides(part: Strategy, hook: str) -> bool:
    return getattr(type(part), hook) is not getattr(Strategy, hook)
