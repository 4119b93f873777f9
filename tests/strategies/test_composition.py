"""Several strategies as one: which go together, what each decides, and whose memory is whose."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

from cl_sr.diffusion import Parametrization
from cl_sr.errors import InputError
from cl_sr.strategies import (
    Choice,
    Composition,
    Does,
    Experts,
    Strategy,
    Traits,
    compose,
    find_strategy,
    option,
    shipped_strategies,
)
from cl_sr.strategies.timestep_window import TimestepWindow
from cl_sr.strategies.traits import ALONE
from cl_sr.strategies.traits import CONFLICTS as PAIRS

FROZEN_UNDER_ADAPTERS = ("ewc", "l2-sp", "si", "freeze", "from-scratch")
CONFLICTS = [
    *((adapters, other) for adapters in ("lora", "router") for other in FROZEN_UNDER_ADAPTERS),
    ("router", "wise-ft"),
    ("lora", "wise-ft"),
    ("timestep-window", "window-experts"),
    ("router", "window-experts"),
    ("router", "ddnm"),
    ("window-experts", "ddnm"),
    ("joint", "ddnm"),
    ("joint", "replay"),
    ("ddnm", "distill"),
    ("lora", "router"),
]


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(("one", "other"), CONFLICTS)
def test_what_cannot_work_together_is_refused_by_both_names(
    one: str, other: str, backwards: bool
) -> None:
    text = f"{other}+{one}" if backwards else f"{one}+{other}"
    with pytest.raises(InputError) as error:
        compose(text)
    assert one in str(error.value)
    assert other in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["replay+replay:size=3", "ewc+replay+ewc:weight=2"])
def test_a_strategy_twice_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="given twice"):
        compose(text)


def test_plugins_of_avalanche_may_be_several() -> None:
    found = compose("avalanche:EWCPlugin:ewc_lambda=1+avalanche:MASPlugin")
    assert [part.plugin for part in found.parts] == ["EWCPlugin", "MASPlugin"]  # type: ignore[attr-defined]


def test_an_unknown_part_is_named() -> None:
    with pytest.raises(InputError, match="replai"):
        compose("ewc + replai")


def test_each_part_has_a_memory_of_its_own() -> None:
    @dataclass(frozen=True)
    class Notes(Strategy):
        """Writes into its memory."""

        value: int = option(0, "what")

        def begin(self, learner: Any, memory: Any) -> None:
            assert "same" not in memory
            memory["same"] = self.value

        def penalty(self, learner: Any, memory: Any) -> float:
            assert memory["same"] == self.value
            return float(self.value)

    @dataclass(frozen=True)
    class MoreNotes(Notes):
        """As the other."""

    both = Composition((Notes(1), MoreNotes(20)))
    memory: dict[str, Any] = {}
    learner: Any = SimpleNamespace(lr=0.1)
    both.each("begin", learner, memory)
    assert memory == {"0-notes": {"same": 1}, "1-more-notes": {"same": 20}}
    assert both.penalty(learner, memory) == 21


@dataclass(frozen=True)
class AtOnce(Strategy):
    """All domains in one experience."""

    def curriculum(self, iterations: Mapping[str, int]) -> list[tuple[tuple[str, ...], int]]:
        return [(tuple(iterations), sum(iterations.values()))]


def test_hooks_of_one_owner_are_that_parts_and_others_are_joined(world: Any) -> None:
    both = Composition(
        (
            find_strategy("replay:size=4"),
            find_strategy("timestep-window:start=3,stop=9"),
            AtOnce(),
            find_strategy("wise-ft:held_out=2"),
        )
    )
    assert both.window(1, 100) == (3, 9)
    assert both.curriculum({"a": 3, "b": 4}) == [(("a", "b"), 7)]
    assert both.traits.zero_shot is None
    assert not both.traits.contiguous
    template = world.template(both)
    world.adapt(template, 1)
    assert len(template.learner.images) == 12
    agem = "avalanche:AGEMPlugin:patterns_per_experience=2,sample_size=2"
    assert compose(f"replay+{agem}").traits.contiguous
    adapted = world.template("replay+lora:lr=3", lr=0.5)
    world.adapt(adapted, 1)
    assert adapted.learner.lr == 1.5
    with pytest.raises(InputError, match="window 3-9"):
        both.check(8)


def test_inference_is_the_parts_that_changes_it(world: Any) -> None:
    for text in ("replay+window-experts:stop=20", "window-experts:stop=20+replay"):
        # The net answers the noise itself, as a restorer does.
        template = world.train(text, parametrization=Parametrization("epsilon", "residual"))
        levels = template.model.model.schedule.gammas.sqrt()[torch.tensor([5, 80])].float()
        lr, x = world.samples(0, 2).lr, torch.randn(2, 3, 16, 16)
        denoiser = template.restorer().denoiser(lr)
        with torch.no_grad():
            answer = denoiser(x, None, levels)
            new = template.learner.net(x, denoiser.condition, levels)
        assert torch.allclose(answer[0], new[0], atol=1e-6)
        assert not torch.allclose(answer[1], new[1], atol=1e-4)


def test_experts_of_which_nothing_is_said_are_the_net_as_it_is(world: Any) -> None:
    @dataclass(frozen=True)
    class OneExpert(Strategy):
        """Restores as any other, and says that it needs more."""

        def experts(self, memory: Any) -> Experts:
            return Experts(extra_parameters=7)

    template = world.train(OneExpert(), experiences=1)
    lr, seeds = world.samples(0, 3).lr, range(3)
    plain = world.restored(template, template.learner.net, lr, seeds)
    assert template.restorer().route(lr).tolist() == [0, 0, 0]
    assert torch.equal(template.restorer().restore(lr, seeds), plain)
    assert template.strategy.experts(template.memory).extra_parameters == 7


def test_penalties_are_summed(world: Any) -> None:
    template = world.template("ewc:weight=2+l2-sp:weight=3")
    start = template.learner.weights().detach() - 1
    memory = {"0-ewc": {"fisher": torch.ones_like(start), "start": start}, "1-l2-sp": {}}
    memory["1-l2-sp"]["start"] = start
    found = template.strategy.penalty(template.learner, memory)
    assert float(found.detach()) == pytest.approx(243 * (1 + 1.5), rel=1e-5)


def test_rows_of_two_that_rehearse_do_not_overlap(world: Any) -> None:
    text = "replay:size=4,ratio=0.25+generative-distill:size=4,ratio=0.5,components=2"
    template = world.template(text, batch_size=8)
    seen: list[Any] = []
    forward = template.forward

    def spy() -> torch.Tensor:
        images = template.samples.hr.clone()
        out: torch.Tensor = forward()
        seen.append((template.learner.seen, images))
        return out

    template.forward = spy
    world.learn(template, [0, 1])
    for one, images in seen[:3]:
        assert (one.new, dict(one.rows), len(images)) == (8, {}, 8)
    for one, images in seen[3:]:
        assert dict(one.rows) == {"replay": slice(6, 8), "generative-distill": slice(2, 6)}
        assert (one.new, len(images)) == (2, 8)
        assert min(world.places(1, images[:2])) >= 0
        assert world.places(0, images[2:6]) == [-1] * 4  # drawn ones
        assert min(world.places(0, images[6:])) >= 0


@pytest.mark.parametrize(("ratios", "batch"), [((0.5, 0.5), 4), ((0.9, 0.9), 8), ((0.1, 0.1), 2)])
def test_ratios_that_leave_no_room_for_new_images_are_refused(
    world: Any, ratios: tuple[float, float], batch: int
) -> None:
    one, two = ratios
    text = f"replay:size=4,ratio={one}+generative-distill:size=4,ratio={two},components=2"
    with pytest.raises(InputError, match="replay and generative-distill leave no room"):
        world.train(text, batch_size=batch)


def test_what_is_composed_may_be_objects_choices_or_text() -> None:
    one = TimestepWindow(1, 2)
    assert compose(one).parts == (one,)
    parts = (one, find_strategy("replay:size=3"), find_strategy("ewc"))
    assert compose(one, Choice("replay", {"size": "3"}), "ewc") == Composition(parts)
    assert compose("timestep-window:start=1,stop=2+replay:size=3", "ewc") == Composition(parts)
    assert compose(one, "replay").name == "timestep-window+replay"


# Traits: what strategies tell of themselves, those of third parties too


def strategy(name: str, *does: Does, **traits: Any) -> Strategy:
    """A third party's, which says that it does something."""

    class Mine(Strategy):
        """Says so."""

    Mine.__name__ = name
    Mine.traits = Traits(does=frozenset(does), **traits)
    return Mine()


@pytest.mark.parametrize("adapters", ["lora", "router"])
@pytest.mark.parametrize(
    ("does", "why"),
    [
        (Does.HOLDS_WEIGHTS, "every domain has weights of its own, and mine would hold them"),
        (Does.FREEZES_WEIGHTS, "{adapters} has an option of its own for which layers are trained"),
        (Does.MOVES_WEIGHTS, "an adapter is kept as it was trained, not part of the way"),
        (Does.SEPARATES_WEIGHTS, "each adapts the first domain's weights in its way"),
    ],
)
def test_a_third_partys_strategy_is_refused_for_what_it_says_that_it_does(
    adapters: str, does: Does, why: str
) -> None:
    mine, theirs = strategy("Mine", does), find_strategy(adapters)
    for parts in ((mine, theirs), (theirs, mine)):
        with pytest.raises(InputError) as error:
            compose(*parts)
        told = str(error.value)
        assert re.match(rf"strategies (mine and {adapters}|{adapters} and mine) cannot", told)
        assert told.endswith(f" cannot work together: {why.format(adapters=adapters)}")


@pytest.mark.parametrize("other", ["lora", "router", "ewc", "wise-ft", "window-experts", "replay"])
def test_one_that_says_nothing_is_in_nobodys_way(other: str) -> None:
    compose(strategy("Mine"), other)
    compose(other, strategy("Mine"))


@pytest.mark.parametrize(
    ("alone", "beside"),
    [
        ("from-scratch", {Does.SETS_PACE, Does.SETS_WINDOW}),
        ("joint", {Does.SETS_PACE}),
        ("ddnm", {Does.SETS_PACE}),
    ],
)
def test_beside_what_must_be_alone_only_what_is_said_to_be_harmless_is_accepted(
    alone: str, beside: set[Does]
) -> None:
    for does in (set(), *({one} for one in Does), {Does.SETS_PACE, Does.HOLDS_WEIGHTS}):
        mine, theirs = strategy("Mine", *does), find_strategy(alone)
        for parts in ((mine, theirs), (theirs, mine)):
            if does and does <= beside:
                compose(*parts)
                continue
            with pytest.raises(InputError, match="mine") as error:
                compose(*parts)
            assert alone in str(error.value)


def test_a_window_of_ones_own_need_not_be_told() -> None:
    @dataclass(frozen=True)
    class LowNoise(Strategy):
        """Trains on low noise alone."""

        def window(self, experience: int, steps: int) -> tuple[int, int]:
            return 0, steps // 2

    both = compose("from-scratch", LowNoise())
    assert both.traits.does == {Does.RESETS_WEIGHTS, Does.SETS_WINDOW}
    with pytest.raises(InputError, match="joint and low-noise cannot work together"):
        compose("joint", LowNoise())


@pytest.mark.parametrize(("one", "other"), product(Does, Does))
def test_every_conflict_is_told_in_both_orders_with_names_in_place(one: Does, other: Does) -> None:
    first, second = strategy("First", one), strategy("Second", other)
    pairs = {frozenset(pair) for pair in PAIRS}
    beside = [ALONE[mine][1] for mine in (one, other) if mine in ALONE]
    refused = frozenset({one, other}) in pairs or (
        (one in ALONE and other not in ALONE[one][1])
        or (other in ALONE and one not in ALONE[other][1])
    )
    assert refused or not beside or {one, other} & beside[0]
    for parts in ((first, second), (second, first)):
        if not refused:
            compose(*parts)
            continue
        with pytest.raises(InputError, match=r"^strategies (first|second) and ") as error:
            compose(*parts)
        assert "{" not in str(error.value)
        assert "\n" not in str(error.value)


def test_traits_are_joined() -> None:
    quiet, loud = strategy("Quiet", plain_start=True), strategy("Loud", Does.HOLDS_WEIGHTS)
    both = compose(quiet, "freeze", "avalanche:AGEMPlugin")
    assert both.traits == Traits(frozenset({Does.FREEZES_WEIGHTS}), contiguous=True)
    assert compose(quiet, "freeze").traits.plain_start
    assert not compose(quiet, loud).traits.plain_start
    assert compose("replay", "distill:on=past").traits.needs_past
    zero_shot = compose("ddnm:steps=7,eta=0.5").traits.zero_shot
    assert zero_shot is not None
    assert (zero_shot.sampling.sampler, zero_shot.sampling.steps) == ("ddnm", 7)
    assert zero_shot.sampling.eta == 0.5


def test_a_plain_start_is_said_by_the_class_itself() -> None:
    """What derives from it may act on the first domain."""

    @dataclass(frozen=True)
    class Derived(TimestepWindow):
        """Says nothing."""

    @dataclass(frozen=True)
    class Restated(TimestepWindow):
        """Says it again."""

        traits: ClassVar[Traits] = TimestepWindow.traits

    assert compose(TimestepWindow()).traits.plain_start
    assert not compose(Derived()).traits.plain_start
    assert compose(Restated()).traits.plain_start
    assert replace(compose(Derived()).traits, plain_start=True) == compose(Restated()).traits


@pytest.mark.parametrize("traits", [None, {"plain_start": True}, frozenset({Does.SETS_PACE})])
def test_traits_that_are_none_are_refused(traits: Any) -> None:
    mine = strategy("Mine")
    type(mine).traits = traits
    with pytest.raises(InputError, match="strategy mine: traits must be Traits, not "):
        compose(mine)


def test_shipped_ones_say_what_they_do() -> None:
    found = {
        name: compose(cls()).traits.does
        for name, cls in shipped_strategies().items()
        if name != "avalanche"
    }
    assert found == {
        "ddnm": {Does.TRAINS_A_PRIOR},
        "distill": set(),
        "ewc": {Does.HOLDS_WEIGHTS},
        "finetune": set(),
        "freeze": {Does.FREEZES_WEIGHTS},
        "from-scratch": {Does.RESETS_WEIGHTS},
        "generative-distill": set(),
        "joint": {Does.JOINS_DOMAINS},
        "l2-sp": {Does.HOLDS_WEIGHTS},
        "lora": {Does.SEPARATES_WEIGHTS},
        "replay": set(),
        "router": {Does.SEPARATES_WEIGHTS},
        "si": {Does.HOLDS_WEIGHTS},
        "timestep-window": {Does.SETS_WINDOW},
        "window-experts": {Does.KEEPS_WEIGHTS, Does.SETS_WINDOW},
        "wise-ft": {Does.MOVES_WEIGHTS},
    }


# What one returns that is none


@pytest.mark.parametrize(
    "found",
    [
        None,
        [("a",), ("b",)],  # as it was before iterations were told here
        [(("a",), 1.5)],
        [(("a",), -1)],
        [((), 3)],
        [(("a", "a"), 3)],
        [(("c",), 3)],
        [("a", 3)],
        ((("a",), 3),),
    ],
)
def test_a_curriculum_that_is_none_is_refused(found: Any) -> None:
    class Mine(Strategy):
        """Learns what it likes."""

        def curriculum(self, iterations: Any) -> Any:
            return found

    told = r"strategy mine: curriculum\(\) must return a list of tuples of domains \(a, b\) with"
    with pytest.raises(InputError, match=told):
        compose(Mine()).curriculum({"a": 3, "b": 4})


def test_domains_are_learnt_once() -> None:
    class Mine(Strategy):
        """Rehearses the whole first domain."""

        def curriculum(self, iterations: Any) -> Any:
            return [(("a",), 3), (("b",), 4), (("a",), 1)]

    with pytest.raises(InputError, match="strategy mine learns the same domains twice"):
        compose(Mine()).curriculum({"a": 3, "b": 4})


@pytest.mark.parametrize("window", [None, (0, 101), (5, 5), (-1, 3), (0.0, 3), [0, 3], (0, True)])
def test_a_window_that_is_none_is_refused(window: Any) -> None:
    class Mine(Strategy):
        """Trains when it likes."""

        def window(self, experience: int, steps: int) -> Any:
            return window

    with pytest.raises(InputError, match=r"strategy mine: window\(\) must return \(start, stop\)"):
        compose(Mine()).window(1, 100)
