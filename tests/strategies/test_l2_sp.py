"""L2-SP against its formula."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl_sr.errors import InputError
from cl_sr.strategies.l2_sp import L2Sp


def test_the_penalty_and_its_gradient_by_hand(world: Any) -> None:
    template = world.template()
    away = torch.linspace(-1, 1, len(template.learner.weights()))
    memory = {"start": template.learner.weights().detach() - away}
    penalty = L2Sp(weight=0.6).penalty(template.learner, memory)
    assert isinstance(penalty, torch.Tensor)
    assert float(penalty.detach()) == pytest.approx(
        0.3 * sum(x * x for x in away.tolist()), rel=1e-5
    )
    found = torch.autograd.grad(penalty, list(template.learner.net.parameters()))
    assert torch.allclose(torch.cat([g.flatten() for g in found]), 0.6 * away, atol=1e-6)


def test_the_weights_are_drawn_to_those_that_an_experience_begins_from(world: Any) -> None:
    template = world.template(L2Sp())
    learner, starts = template.learner, list[torch.Tensor]()
    before: list[torch.Tensor] = []

    def begun() -> None:
        own = template.memory["0-l2-sp"]
        if learner.number == 0:
            assert own == {}
            assert L2Sp().penalty(learner, own) == 0
            return
        assert torch.equal(own["start"], before[-1])
        starts.append(before[-1])

    def note() -> None:
        before.append(learner.weights().detach().clone())

    with world.around(template, "begin", before=note, after=begun):
        world.learn(template, [0, 1, 2])
    assert len(starts) == 2
    assert not torch.equal(*starts)
    assert template.memory["0-l2-sp"] == {}


def test_with_a_large_weight_nothing_moves_far(world: Any) -> None:
    def way(weight: float) -> float:
        template = world.train(L2Sp(weight), experiences=1, iterations=[3, 12, 1])
        before = template.learner.weights().detach()
        world.learn(template, [1])
        return float((template.learner.weights() - before).norm().detach())

    free, held = way(0), way(1000)
    assert held < 0.5 * free


def test_no_weight_is_plain_fine_tuning(world: Any) -> None:
    plain = world.train("finetune")
    assert torch.equal(world.train(L2Sp(0.0)).learner.weights(), plain.learner.weights())
    assert not torch.equal(world.train(L2Sp(1.0)).learner.weights(), plain.learner.weights())


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(InputError, match="l2-sp"):
        L2Sp(-0.1).check(100)
