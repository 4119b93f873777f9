"""Distillation: who the teacher is, on what it is asked, and what its answers weigh."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from cl_sr.diffusion import q_sample
from cl_sr.errors import InputError
from cl_sr.models.objective import Seen
from cl_sr.strategies import compose
from cl_sr.strategies.distill import Distill


def seen_by(template: Any, rows: int = 6, new: int = 4) -> Seen:
    """An iteration of rows of which some are of the past."""
    generator = torch.Generator().manual_seed(5)
    condition, image, noise = torch.randn(3, rows, 3, 8, 8, generator=generator)
    level = torch.linspace(0.1, 0.9, rows)
    noisy = q_sample(image, level, noise)
    answer = template.learner.net(noisy, condition, level)
    return Seen(noisy, condition, level, answer, image, new)


def test_the_teacher_is_the_net_of_before_the_experience(world: Any) -> None:
    template = world.train("distill", experiences=1, ema=0.5)
    before = {name: weight.clone() for name, weight in template.learner.net.state_dict().items()}
    teachers: list[dict[str, torch.Tensor]] = []
    penalty = template.strategy.penalty

    def spy(learner: Any, memory: Any) -> Any:
        teachers.append({k: v.clone() for k, v in memory["0-distill"]["teacher"].items()})
        return penalty(learner, memory)

    object.__setattr__(template.strategy, "penalty", spy)
    world.learn(template, [1])
    assert len(teachers) == 3  # of each iteration, also when the weights have moved on
    for teacher in teachers:
        assert teacher.keys() == before.keys()
        assert all(torch.equal(teacher[name], before[name]) for name in before)
    assert template.memory["0-distill"] == {}


def test_a_student_that_has_not_moved_has_no_penalty_at_all(world: Any) -> None:
    """So t and the noise are shared. In the first iteration nothing has moved yet."""
    template = world.train("distill", experiences=1)
    penalties: list[float] = []
    penalty = template.strategy.penalty

    def spy(learner: Any, memory: Any) -> Any:
        found = penalty(learner, memory)
        penalties.append(float(found.detach()))
        return found

    object.__setattr__(template.strategy, "penalty", spy)
    world.learn(template, [1])
    assert penalties[0] == 0
    assert min(penalties[1:]) > 0


@pytest.mark.parametrize(
    ("on", "rows"), [("new", slice(0, 4)), ("past", slice(4, 6)), ("all", slice(0, 6))]
)
def test_the_penalty_by_hand_on_new_and_past_rows(world: Any, on: Any, rows: slice) -> None:
    template, other = world.template(), world.template().learner.net
    for weight in other.parameters():
        nn.init.normal_(weight)
    seen = template.learner.seen = seen_by(template)
    wanted = other(seen.noisy, seen.condition, seen.level)
    squares = (seen.answer - wanted).square()[rows]
    memory = {"teacher": other.state_dict()}
    for weight in (1.0, 0.25):
        found = torch.as_tensor(Distill(weight, on).penalty(template.learner, memory))
        assert float(found.detach()) == pytest.approx(
            weight * float(squares.detach().mean()), rel=1e-5
        )
    gradient = torch.autograd.grad(found, seen.answer)[0]
    expected = torch.zeros_like(seen.answer)
    expected[rows] = 0.25 * 2 * (seen.answer - wanted)[rows].detach() / squares.numel()
    assert torch.allclose(gradient, expected, atol=1e-7)


def test_with_replay_the_last_rows_of_a_batch_are_the_past(world: Any) -> None:
    """The penalty of a run, again from what it was shown."""
    template = world.train("replay:size=6,ratio=0.25+distill:on=past,weight=2", experiences=1)
    penalty = template.strategy.penalty
    compared: list[float] = []

    def spy(learner: Any, memory: Any) -> Any:
        found, seen = penalty(learner, memory), learner.seen
        teacher = learner.net_of(memory["1-distill"]["teacher"])
        assert seen.new == 3
        wanted = teacher(seen.noisy, seen.condition, seen.level)[3:]
        expected = 2 * (seen.answer[3:] - wanted).square().mean()
        assert torch.allclose(found, expected)
        assert world.place(0, template.samples.hr[3]) >= 0
        compared.append(float(expected.detach()))
        return found

    object.__setattr__(template.strategy, "penalty", spy)
    world.learn(template, [1])
    assert compared[0] == 0
    assert compared[2] > 0


def test_there_is_no_past_to_distil_on_without_rehearsal() -> None:
    for alone in ("distill:on=past", "distill:on=past+ewc"):
        with pytest.raises(InputError, match=r"distill does nothing .* add --strategy replay"):
            compose(alone)
    compose("distill:on=past+generative-distill")


def test_nothing_is_distilled_in_the_first_experience_or_in_evaluation(world: Any) -> None:
    template = world.template()
    learner = template.learner
    learner.seen = seen_by(template)
    assert Distill().penalty(learner, {}) == 0
    learner.seen = None
    assert Distill().penalty(learner, {"teacher": template.learner.net.state_dict()}) == 0


def test_an_unconditional_net_is_asked_without_a_condition(world: Any) -> None:
    class Unconditional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(2.0))

        def forward(self, noisy: Any, condition: Any, level: Any) -> torch.Tensor:
            assert condition is None
            return self.scale * noisy

    learner = world.template(net=Unconditional(), conditional=False).learner
    noisy = torch.ones(2, 3, 4, 4)
    shown = Seen(noisy, None, torch.ones(2), learner.net(noisy, None, None), noisy, 2)
    learner.seen = replace(shown, new=2)
    found = Distill().penalty(learner, {"teacher": {"scale": torch.tensor(5.0)}})
    assert float(torch.as_tensor(found).detach()) == 9


def test_a_heavy_teacher_holds_the_student(world: Any) -> None:
    def way(weight: float) -> float:
        template = world.train(f"distill:weight={weight}", experiences=1, iterations=[8, 12, 1])
        before = template.learner.weights().detach()
        world.learn(template, [1])
        return float((template.learner.weights() - before).norm().detach())

    assert way(1000) < 0.7 * way(0)


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(InputError, match="distill"):
        Distill(-1).check(100)
