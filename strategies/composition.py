"""Several strategies as one: the place where hooks are called, blamed and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_sr.errors import InputError
from cl_sr.plugins import blamed
from cl_sr.strategies.base import OWNED, Experts, Strategy
from cl_sr.strategies.memory import Memory, check_memory, flatten, unflatten
from cl_sr.strategies.traits import Does, Traits, conflict

if TYPE_CHECKING:
    from torch import Tensor

    from cl_sr.data.samples import Samples
    from cl_sr.models.objective import Seen
    from cl_sr.strategies.learner import Learner


@dataclass(frozen=True)
class Composition:
    """Strategies that act together, in order; each has a memory of its own.

    Raises:
        InputError: two of them decide the same thing, or cannot act together.
    """

    parts: tuple[Strategy, ...]

    def __post_init__(self) -> None:
        titles = [part.title() for part in self.parts]
        for title in titles:
            if titles.count(title) > 1 and title != "avalanche":
                raise InputError(f"strategy {title} is given twice: give it once, with all options")
        for hook, what in OWNED.items():
            owners = [part.title() for part in self.parts if _overrides(part, hook)]
            if len(owners) > 1:
                raise InputError(
                    f"strategies {owners[0]} and {owners[1]} both decide {what}: leave one out"
                )
        ratios = [(part.title(), getattr(part, "ratio", None)) for part in self.rehearsing]
        shares = {title: ratio for title, ratio in ratios if isinstance(ratio, int | float)}
        if sum(shares.values()) >= 1 and len(shares) > 1:
            given = " and ".join(shares)
            raise InputError(f"{given} leave no room for new images: lower their ratios")
        for part in self.parts:
            if self._traits(part).needs_past and not self.rehearsing:
                raise InputError(
                    f"strategy {part.title()} does nothing without images of the past, as it is "
                    "set: add --strategy replay"
                )
        for one, other in permutations(self.parts, 2):
            if why := conflict(self._traits(one).does, self._traits(other).does):
                names = {"one": one.title(), "other": other.title()}
                raise InputError(
                    f"strategies {one.title()} and {other.title()} cannot work together: "
                    f"{why.format(**names)}"
                )

    @property
    def name(self) -> str:
        """The titles of the parts, joined by `+`."""
        return "+".join(part.title() for part in self.parts)

    @cached_property
    def rehearsing(self) -> list[Strategy]:
        """The parts that put images of the past into batches."""
        return [part for part in self.parts if _overrides(part, "rehearsal")]

    @cached_property
    def traits(self) -> Traits:
        """Of all parts together."""
        each = [self._traits(part) for part in self.parts]
        return Traits(
            does=frozenset[Does]().union(*(traits.does for traits in each)),
            # Said by the class itself: what derives from it may act on the first domain.
            plain_start=all(
                "traits" in vars(type(part)) and traits.plain_start
                for part, traits in zip(self.parts, each, strict=True)
            ),
            needs_past=any(traits.needs_past for traits in each),
            contiguous=any(traits.contiguous for traits in each),
            zero_shot=next((t.zero_shot for t in each if t.zero_shot is not None), None),
        )

    # Before the run

    def check(self, steps: int, shapes: Mapping[str, Sequence[int]] | None = None) -> None:
        """Refuse options that cannot work; see `Strategy.check`."""
        for part in self.parts:
            self._ask(part, "check", steps, shapes)

    def curriculum(self, iterations: Mapping[str, int]) -> list[tuple[tuple[str, ...], int]]:
        """The training experiences: domains and iterations of each."""
        part = self._owner("curriculum")
        found = self._ask(part, "curriculum", iterations)
        groups = []
        try:
            groups = [(tuple(names), count) for names, count in found]
            sound = isinstance(found, list) and all(
                isinstance(given, tuple) and names and set(names) <= set(iterations)
                and len(set(names)) == len(names) and type(count) is int and count >= 0
                for (given, _), (names, count) in zip(found, groups, strict=True)
            )  # fmt: skip
        except (TypeError, ValueError):
            sound = False
        if not sound:
            raise InputError(
                f"strategy {part.title()}: curriculum() must return a list of tuples of domains "
                f"({', '.join(iterations)}) with a whole number of iterations each, not "
                f"{found!r:.200}"
            )
        if len({names for names, _ in groups}) < len(groups):
            raise InputError(f"strategy {part.title()} learns the same domains twice")
        return groups

    def window(self, experience: int, steps: int) -> tuple[int, int]:
        """The time-steps that an experience is trained on."""
        part = self._owner("window")
        window = self._ask(part, "window", experience, steps)
        numbers = isinstance(window, tuple) and [type(n) for n in window] == [int, int]
        if not numbers or not 0 <= window[0] < window[1] <= steps:
            raise InputError(
                f"strategy {part.title()}: window() must return (start, stop) with 0 <= start < "
                f"stop <= {steps}, not {window!r}"
            )
        return window[0], window[1]

    def plugins(self) -> list[Any]:
        """Avalanche plugins of all parts."""
        from cl_sr.avalanche import BasePlugin

        plugins: list[Any] = []
        for part in self.parts:
            found = self._ask(part, "plugins")
            if not isinstance(found, list) or not all(isinstance(p, BasePlugin) for p in found):
                raise InputError(
                    f"strategy {part.title()}: plugins() must return a list of Avalanche "
                    f"plugins, not {found!r:.80}"
                )
            plugins += found
        return plugins

    # Around an experience, and in an iteration

    def each(self, hook: str, learner: Learner, memory: Memory) -> None:
        """Call `adapt`, `begin`, `settle` or `end` of every part.

        Raises:
            InputError: one remembers what cannot be saved, or sets a learning rate that is none.
        """
        for part in self.parts:
            own, rate = self._own(part, memory), learner.lr
            self._ask(part, hook, learner, own)
            check_memory(own, part.title())
            if hook != "adapt" and learner.lr != rate:
                raise InputError(
                    f"strategy {part.title()}: learner.lr is changed in adapt(), not in {hook}()"
                )
            if not (isinstance(learner.lr, float) and 0 < learner.lr < math.inf):
                raise InputError(
                    f"strategy {part.title()}: learner.lr must be a positive float, not "
                    f"{learner.lr!r}"
                )

    def rehearsals(self, learner: Learner, memory: Memory, size: int) -> dict[str, Samples]:
        """Samples of the past for a batch of `size`, by the title of the strategy that gives them.

        Raises:
            InputError: they are none, or leave no room for new images.
        """
        from cl_sr.data.samples import Samples

        given: dict[str, Samples] = {}
        for part in self.rehearsing:
            found = self._ask(part, "rehearsal", learner, self._own(part, memory), size)
            if found is None:
                continue
            if not isinstance(found, Samples) or not len(found):
                raise InputError(
                    f"strategy {part.title()}: rehearsal() must return Samples "
                    f"(cl_sr.data.samples) or None, not {found!r:.80}"
                )
            given[part.title()] = found
        if sum(map(len, given.values())) >= size:
            raise InputError(
                f"{' and '.join(given)} leave no room for new images in a batch of {size}: lower "
                "their ratios, or raise train.batch_size"
            )
        return given

    def target(self, learner: Learner, memory: Memory, seen: Seen) -> Tensor:
        """What the net should answer: each part changes what the one before it says."""
        for part in self.parts:
            if not _overrides(part, "target"):
                continue
            target = self._ask(part, "target", learner, self._own(part, memory), seen)
            if getattr(target, "shape", None) != seen.truth.shape:
                raise InputError(
                    f"strategy {part.title()}: target() must return a tensor of shape "
                    f"{tuple(seen.truth.shape)}, such as seen.truth"
                )
            seen = seen.with_truth(target)
        return seen.truth

    def penalty(self, learner: Learner, memory: Memory) -> Tensor | float:
        """The sum of all parts' additions to the loss."""
        total: Tensor | float = 0.0
        for part in self.parts:
            added = self._ask(part, "penalty", learner, self._own(part, memory))
            if not isinstance(added, int | float) and getattr(added, "shape", None) != ():
                raise InputError(
                    f"strategy {part.title()}: penalty() must return one number, or a tensor of "
                    f"one, not {added!r:.80}"
                )
            total = total + added
        return total

    # Afterwards

    def experts(self, memory: Memory) -> Experts | None:
        """Whose weights restore an image; None: the net's as they are restore all."""
        part = self._owner("experts")
        found = self._ask(part, "experts", self._own(part, memory))
        if not isinstance(found, Experts | None):
            raise InputError(
                f"strategy {part.title()}: experts() must return an object derived from "
                f"cl_sr.strategies.Experts, or None, not {found!r:.80}"
            )
        return found

    def travels(self, memory: Memory) -> Memory:
        """Of what is remembered, what `experts` needs: it goes with weights that are exported.

        That is the memory of the part that has experts, but for images: 8-bit tensors, as Samples
        hold them.
        """
        part = self._owner("experts")
        if not _overrides(part, "experts"):
            return {}
        own = flatten(self._own(part, memory)).items()
        kept = {k: v for k, v in own if str(getattr(v, "dtype", "")) != "torch.uint8"}
        return {self._key(part): unflatten(kept)}

    def export(self, learner: Learner, memory: Memory, folder: Path) -> None:
        """Write what others can use into the folder of a checkpoint."""
        for part in self.parts:
            self._ask(part, "export", learner, self._own(part, memory), folder)

    def _owner(self, hook: str) -> Strategy:
        """The part that has a hook of its own, or the first."""
        return next((part for part in self.parts if _overrides(part, hook)), self.parts[0])

    def _own(self, part: Strategy, memory: Memory) -> Memory:
        own: Memory = memory.setdefault(self._key(part), {})
        return own

    def _key(self, part: Strategy) -> str:
        return f"{self.parts.index(part)}-{part.title()}"

    def _traits(self, part: Strategy) -> Traits:
        with blamed(f"strategy {part.title()}", part):
            traits = part.traits
        if not isinstance(traits, Traits):
            raise InputError(f"strategy {part.title()}: traits must be Traits, not {traits!r:.80}")
        does = traits.does
        if not isinstance(does, frozenset | set) or not all(isinstance(d, Does) for d in does):
            raise InputError(
                f"strategy {part.title()}: traits must have does=frozenset({{Does....}}), not "
                f"{does!r:.80}"
            )
        window = {Does.SETS_WINDOW} if _overrides(part, "window") else set()
        return replace(traits, does=frozenset(does | window))

    def _ask(self, part: Strategy, hook: str, *arguments: Any) -> Any:
        """Call a hook: what a user's strategy raises is told by its name and place."""
        who = f"strategy {part.title()}"
        try:
            with blamed(who, part):
                return getattr(part, hook)(*arguments)
        except InputError as error:
            if type(error) is not InputError or who in str(error):
                raise
            raise InputError(f"{who}: {error}") from error


def _overrides(part: Strategy, hook: str) -> bool:
    return getattr(type(part), hook) is not getattr(Strategy, hook)
