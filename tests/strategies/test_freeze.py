"""Freezing: what is named stays to the bit, all else learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl_sr.errors import InputError
from cl_sr.strategies.freeze import Freeze


@pytest.mark.parametrize("ema", [0, 0.5])
def test_what_is_named_stays_and_all_else_moves(world: Any, unet: Any, ema: float) -> None:
    template = world.train("freeze", experiences=1, net=unet(), ema=ema)
    start = unet().state_dict()
    before = {name: weight.clone() for name, weight in template.learner.net.state_dict().items()}
    assert all(not torch.equal(start[name], before[name]) for name in before)  # the first domain
    world.learn(template, [1])
    after = template.learner.net.state_dict()
    stays = {name for name in before if torch.equal(before[name], after[name])}
    assert stays == {
        name for name in before if name.startswith(("noise_level_mlp.", "downs.", "mid."))
    }


def test_parts_is_a_regular_expression(world: Any) -> None:
    template = world.train(Freeze(parts=r"bias$|^out"), experiences=1)
    before = {name: weight.clone() for name, weight in template.learner.net.state_dict().items()}
    world.learn(template, [1])
    stays = {k for k, w in template.learner.net.state_dict().items() if torch.equal(w, before[k])}
    assert stays == {"mix.bias", "shift.bias", "out.weight", "out.bias"}
    assert all(weight.requires_grad for weight in template.learner.net.parameters())


@pytest.mark.parametrize(("parts", "word"), [("nowhere", "none"), ("", "all")])
def test_parts_that_leave_nothing_to_choose_are_refused(parts: str, word: str) -> None:
    Freeze(parts).check(100)  # without a net, it cannot be known
    with pytest.raises(InputError, match=f"names {word} of the weights"):
        Freeze(parts).check(100, {"mix.weight": (4, 6, 3, 3), "mix.bias": (4,)})


def test_an_expression_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="parts="):
        Freeze("(").check(100)


@pytest.mark.parametrize("strategy", ["freeze:parts=^mix", "lora:rank=2"])
def test_gradients_of_the_experience_before_have_no_part_in_the_next(
    world: Any, strategy: str
) -> None:
    """They would make its steps smaller; and a run that is resumed there has lost them."""
    first, second = (world.train(strategy, experiences=1, clip=0.1) for _ in range(2))
    assert torch.equal(first.learner.weights(), second.learner.weights())
    second.learner.net.zero_grad()  # as in a process that begins here
    for template in (first, second):
        torch.manual_seed(0)
        world.learn(template, [1])
    assert torch.equal(first.learner.weights(), second.learner.weights())
