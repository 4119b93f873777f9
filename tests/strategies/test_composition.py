"""Several strategies as one: which go together, what each decides, and whose memory is whose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from cl_sr.config import EvalConfig
from cl_sr.errors import InputError
from cl_sr.strategies import Strategy, compose, find_strategy, spell
from cl_sr.strategies.base import option
from cl_sr.strategies.composition import Composition
from cl_sr.strategies.registry import split_composition
from cl_sr.strategies.timestep_window import TimestepWindow

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
        find_strategy(text)
    assert one in str(error.value)
    assert other in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["replay+replay:size=3", "ewc+replay+ewc:weight=2"])
def test_a_strategy_twice_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="given twice"):
        find_strategy(text)


def test_plugins_of_avalanche_may_be_several() -> None:
    found = find_strategy("avalanche:EWCPlugin:ewc_lambda=1+avalanche:MASPlugin")
    assert [part.plugin for part in found.parts] == ["EWCPlugin", "MASPlugin"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("replay+ewc", ["replay", "ewc"]),
        ("replay:size=3 + ewc:weight=1e+5", ["replay:size=3", "ewc:weight=1e+5"]),
        ("ewc:weight=1e+5", ["ewc:weight=1e+5"]),
        ("ddnm:prior=/data/a+b/c.pt+replay", ["ddnm:prior=/data/a+b/c.pt", "replay"]),
        ("ddnm:prior=/data/my+replay/x.pt", ["ddnm:prior=/data/my+replay/x.pt"]),
        ("ddnm:prior=/data/x+ewc-old.pt", ["ddnm:prior=/data/x+ewc-old.pt"]),
        ("freeze:parts=mid.+|downs+replay", ["freeze:parts=mid.+|downs", "replay"]),
        ("./mine.py:Mine:a=1+replay", ["./mine.py:Mine:a=1", "replay"]),
        ("replay+./mine.py:a=1e+2+l2-sp", ["replay", "./mine.py:a=1e+2", "l2-sp"]),
        ("avalanche:EWCPlugin:ewc_lambda=1e+3+si", ["avalanche:EWCPlugin:ewc_lambda=1e+3", "si"]),
    ],
)
def test_a_plus_parts_strategies_and_no_values(text: str, parts: list[str]) -> None:
    assert split_composition(text) == parts


def test_values_with_a_plus_arrive() -> None:
    text = "ddnm:prior=/data/a+b/c.pt,steps=7+avalanche:LRSchedulerPlugin:step_size=12"
    found: Any = find_strategy(text)
    assert [part.title() for part in found.parts] == ["ddnm", "avalanche"]
    assert (found.parts[0].prior, found.parts[0].steps) == ("/data/a+b/c.pt", 7)
    assert found.parts[1].arguments == "step_size=12"
    assert find_strategy("ewc:weight=1e+5").weight == 1e5  # type: ignore[attr-defined]


def test_the_spelling_of_a_composition_finds_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "ddnm:prior=a+b.pt,steps=7 + avalanche:LRSchedulerPlugin:step_size=12,gamma=0.5"
    found = find_strategy(text)
    spelt = spell(found, text)
    scheduler = "avalanche:LRSchedulerPlugin:step_size=12,gamma=0.5"
    assert spelt == f"ddnm:prior={tmp_path}/a+b.pt,steps=7+{scheduler}"
    monkeypatch.chdir("/")
    assert find_strategy(spelt) == found


def test_an_unknown_part_is_named() -> None:
    with pytest.raises(InputError, match="replai"):
        find_strategy("ewc + replai")


def test_each_part_has_a_memory_of_its_own() -> None:
    @dataclass(frozen=True)
    class Notes(Strategy):
        """Writes into its memory."""

        value: int = option(0, "what")

        def begin(self, template: Any, memory: Any) -> None:
            assert "same" not in memory
            memory["same"] = self.value

        def penalty(self, template: Any, memory: Any) -> float:
            assert memory["same"] == self.value
            return float(self.value)

    @dataclass(frozen=True)
    class MoreNotes(Notes):
        """As the other."""

    both = Composition((Notes(1), MoreNotes(20)))
    memory: dict[str, Any] = {}
    template: Any = None
    both.begin(template, memory)
    assert memory == {"0-notes": {"same": 1}, "1-more-notes": {"same": 20}}
    assert both.penalty(template, memory) == 21


@dataclass(frozen=True)
class AtOnce(Strategy):
    """All domains in one experience."""

    def curriculum(self, domains: Sequence[str]) -> list[tuple[str, ...]]:
        return [tuple(domains)]


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
    assert both.curriculum(["a", "b"]) == [("a", "b")]
    assert both.budget(["a", "b"], {"a": 3, "b": 4}) == 7
    assert both.sampler(EvalConfig()) == ("ddim", 20)
    assert not both.contiguous
    template = world.template()
    template.learning = world.benchmark.train_stream[1]
    assert both.hold_out(template, 14) == 2
    agem = "avalanche:AGEMPlugin:patterns_per_experience=2,sample_size=2"
    assert compose(find_strategy(f"replay+{agem}")).contiguous
    assert compose(find_strategy("replay+lora:lr=3")).learning_rate(1, 0.5) == 1.5
    with pytest.raises(InputError, match="window 3-9"):
        both.check(8)


def test_inference_is_the_parts_that_changes_it(world: Any) -> None:
    for text in ("replay+window-experts:stop=20", "window-experts:stop=20+replay"):
        template = world.train(text)
        levels = template.model.schedule.gammas.sqrt()[torch.tensor([5, 80])].float()
        x = torch.randn(2, 3, 8, 8)
        answer = template.strategy.denoiser(template, template.memory, x)(x, x, levels)
        with torch.no_grad():
            new = template.net(x, x, levels)
        assert torch.allclose(answer[0], new[0], atol=1e-6)
        assert not torch.allclose(answer[1], new[1], atol=1e-4)


def test_penalties_are_summed(world: Any) -> None:
    template = world.template("ewc:weight=2+l2-sp:weight=3")
    start = template.weights().detach() - 1
    memory = {"0-ewc": {"fisher": torch.ones_like(start), "start": start}, "1-l2-sp": {}}
    memory["1-l2-sp"]["start"] = start
    found = template.strategy.penalty(template, memory)
    assert float(found.detach()) == pytest.approx(243 * (1 + 1.5), rel=1e-5)


def test_rows_of_two_that_rehearse_do_not_overlap(world: Any) -> None:
    text = "replay:size=4,ratio=0.25+generative-distill:size=4,ratio=0.5,components=2"
    template = world.template(text, batch_size=8)
    seen: list[Any] = []
    forward = template.forward

    def spy() -> torch.Tensor:
        batch = template.mb_x.clone()
        out: torch.Tensor = forward()
        seen.append((template.seen, batch, dict(template.memory)))
        return out

    template.forward = spy
    world.learn(template, [0, 1])
    for one, batch, _ in seen[:3]:
        assert (one.new, dict(one.rows), len(batch)) == (8, {}, 8)
    for one, batch, _ in seen[3:]:
        assert dict(one.rows) == {"replay": slice(6, 8), "generative-distill": slice(2, 6)}
        assert (one.new, len(batch)) == (2, 8)
        assert all(world.place(1, packed[3:]) >= 0 for packed in batch[:2])
        assert all(world.place(0, packed[3:]) == -1 for packed in batch[2:6])  # drawn ones
        assert all(world.place(0, packed[3:]) >= 0 for packed in batch[6:])


@pytest.mark.parametrize(("ratios", "batch"), [((0.5, 0.5), 4), ((0.9, 0.9), 8), ((0.1, 0.1), 2)])
def test_ratios_that_leave_no_room_for_new_images_are_refused(
    world: Any, ratios: tuple[float, float], batch: int
) -> None:
    one, two = ratios
    text = f"replay:size=4,ratio={one}+generative-distill:size=4,ratio={two},components=2"
    with pytest.raises(InputError, match="replay and generative-distill leave no room"):
        world.train(text, batch_size=batch)


def test_one_strategy_is_a_composition_of_one_part() -> None:
    one = TimestepWindow(1, 2)
    assert compose(one).parts == (one,)
    both = Composition((one, find_strategy("replay")))
    assert compose(both) is both
