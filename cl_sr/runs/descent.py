"""A run that goes on from a finished one: with more iterations, or with further domains.

It is taken up as if it had been stopped within the last experience of its parent, which keeps its
state after the last iteration. So all that depends on what is still to come is as in a run that was
planned so from the start: what a strategy remembers only for a domain that follows, and evaluations
that fall on what was the last iteration.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cl_sr.errors import InputError
from cl_sr.files import read_json
from cl_sr.models.description import VALUES
from cl_sr.runs.parent import ITERATIONS, Parent, damage
from cl_sr.runs.plan import Plan
from cl_sr.strategies.traits import Does

# Keys that tell how far a run goes, or nothing that its figures depend on; shares are looked at by
# domain.
OPEN = ("stream", ITERATIONS, "data.shares", "checkpoint.every", "checkpoint.minutes",
        "checkpoint.keep")  # fmt: skip


@dataclass(frozen=True)
class Descent:
    """From a parent to the plan of a run that goes on from it.

    Raises:
        InputError: it does not go on from it, or lacks what it needs.
    """

    parent: Parent
    plan: Plan

    def __post_init__(self) -> None:
        self._check_settings()
        self._check_domains()
        self._check_iterations()
        self._check_files()

    @property
    def further(self) -> list[str]:
        """The domains that the parent did not have."""
        return list(self.plan.stream.domain_names[len(self.parent.domains) :])

    @property
    def done(self) -> list[tuple[tuple[str, ...], int]]:
        """The parent's experiences: domains and iterations."""
        iterations = dict(zip(self.parent.domains, self.parent.budgets, strict=True))
        return self.plan.strategy.curriculum(iterations)

    @property
    def learnt(self) -> list[str]:
        """What the parent's experiences are called."""
        return ["+".join(names) for names, _ in self.done]

    def check_place(self, out: Path) -> None:
        """Refuse a folder where the parent would not stay as it is.

        Raises:
            InputError: with the remedy.
        """
        ours, theirs = self.parent.path.resolve(), out.resolve()
        if ours == theirs or ours in theirs.parents or theirs in ours.parents:
            raise InputError(
                f"--out {out} is the folder of the run to go on from, or one lies in the other: "
                "choose another --out, as that run stays as it is"
            )

    def _check_settings(self) -> None:
        told = self.parent.record.folder.difference(self.plan.config, besides=OPEN)
        now, before = self.plan.config.data.shares, self.parent.config.data.shares
        for name in self.parent.domains:
            if now.get(name, 1.0) != before.get(name, 1.0):
                told = f"its data.shares.{name} is {before.get(name, 1.0)}, not {now.get(name, 1)}"
        if told:
            raise InputError(
                f"a run that goes on from {self.parent.path} has its settings ({told}): leave that "
                "out, or start a new run"
            )

    def _check_domains(self) -> None:
        names, before = list(self.plan.stream.domain_names), self.parent.domains
        if names[: len(before)] != before:
            raise InputError(
                f"the stream {self.plan.stream.name} ({', '.join(names)}) does not begin with the "
                f"domains of {self.parent.path} ({', '.join(before)}): name one that goes on from "
                "them"
            )
        done, planned = self.done, self.plan.curriculum
        same = [names for names, _ in done] == [names for names, _ in planned[: len(done)]]
        if not done or not same or bool(self.further) == (len(planned) == len(done)):
            raise InputError(
                f"strategy {self.plan.strategy.name} does not learn one domain after the other, "
                "and so cannot go on: start a new run of the whole stream"
            )

    def _check_iterations(self) -> None:
        path, last = self.parent.path, len(self.done) - 1
        if self.plan.curriculum == self.done:
            raise InputError(
                f"{path} has learnt all this: give the last domain more iterations "
                f"({ITERATIONS}={_list(self.parent.budgets)} so far), or --continue {path} with a "
                "--stream of further domains"
            )
        for number, (names, before) in enumerate(self.done):
            now = self.plan.curriculum[number][1]
            if now < before or (now > before and number < last):
                raise InputError(
                    f"{path} has learnt {'+'.join(names)} for {before} iterations, and {now} are "
                    f"asked for: only what it learnt last can be lengthened, and nothing "
                    f"shortened; begin with {ITERATIONS}={_list(self.parent.budgets)}"
                )

    def _check_files(self) -> None:
        path, judged = self.parent.path, bool(self.plan.config.eval.images)
        needed = ["manifest.csv"] + ["images.csv", "windows.csv"] * judged
        for name in needed:
            if not self.parent.record.folder.has(name):
                raise InputError(f"{path} is damaged: it has no {name}; repeat it")
        for name in self.learnt[:-1] if self.further and judged else []:
            if why := damage(self.parent.checkpoint(name)):
                raise InputError(
                    f"{why}: without it {', '.join(self.further)} cannot be evaluated with the "
                    "weights of then; put it back, or start a new run"
                )
        self.begin  # noqa: B018  raises where there is none

    @property
    def begin(self) -> Path:
        """The last sound checkpoint of before the parent's last experience ended.

        Raises:
            InputError: there is none.
        """
        within = [path for number, _, path in self.parent.within if number == len(self.done) - 1]
        before = [self.parent.checkpoint(name) for name in self.learnt[-2:-1]]
        found = [*(path for path in before if not damage(path)), *within]
        if not found:
            path = self.parent.path
            raise InputError(
                f"{path} has no sound checkpoint of before the end of {self.learnt[-1]} that could "
                f"be gone on from: start a new run (--config {path / 'config.yaml'})"
            )
        return found[-1]

    @property
    def iteration(self) -> int:
        """Of the run, that it begins at."""
        return int(read_json(self.begin / VALUES)["iteration"])

    def files(self) -> Iterator[Path]:
        """All of the parent that is carried over as it is: folders and files below its own."""
        for name in self.learnt[:-1]:
            if not damage(self.parent.checkpoint(name)):
                yield self.parent.checkpoint(name)
        within = self.begin.name not in self.learnt
        if within:
            yield self.begin
        yield from (self.parent.path / name for name in ("images.csv", "windows.csv"))
        # What was drawn at the moment that it begins at is drawn again.
        for strip in self.parent.path.glob("samples/*/*.png"):
            kind, _, what = strip.stem.partition("-")
            now = what.isdigit() and int(what) < self.iteration + (not within)
            if (kind == "after" and what in self.learnt[:-1]) or (kind == "iteration" and now):
                yield strip

    @property
    def title(self) -> str:
        """One line on where it goes on from."""
        path, domains = self.parent.path, ", ".join(self.parent.domains)
        return f"going on from {path} ({domains}), at iteration {self.iteration}"

    def notes(self) -> list[str]:
        """One line on each thing that is not as in a run that was planned so from the start."""
        found = []
        before = read_json(self.begin / VALUES)
        if again := sum(count for _, count in self.done) - self.iteration:
            found.append(
                f"the parent has kept no state after its last iteration: the last {again} of "
                f"{self.learnt[-1]} are trained again, to the same bits"
            )
        every = self.plan.config.eval.every
        if self.further and every and any(count > every for _, count in self.done):
            found.append(
                f"the parent's evaluations within domains lack {', '.join(self.further)}: so does "
                "metrics.jsonl, unlike that of a run that was planned so from the start"
            )
        longer = self.plan.curriculum[len(self.done) - 1][1] > self.done[-1][1]
        if longer and Does.SETS_PACE in self.plan.strategy.traits.does:
            found.append(
                f"the learning rates of {self.plan.title} go on as they were set for "
                f"{self.done[-1][1]} iterations: only a run of the same options equals this one"
            )
        if lost := before.get("without_state"):
            found.append(
                f"what the plugins {', '.join(map(str, lost))} remembered was not saved: a run "
                "that was planned so from the start would still have it"
            )
        return found

    def describe(self) -> dict[str, Any]:
        """What `env.json` says of the parent."""
        return {
            "path": str(self.parent.path.resolve()),
            "domains": self.parent.domains,
            "iterations": self.parent.budgets,
            "begun_at": self.iteration,
            "notes": self.notes(),
        }


def _list(numbers: list[int]) -> str:
    """As it is typed."""
    return f"[{','.join(map(str, numbers))}]"
