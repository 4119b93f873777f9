"""Experts by noise level: whose answer it is at each time-step."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl_sr.diffusion import NoiseSchedule, Parametrization
from cl_sr.inference import Restorer
from cl_sr.strategies.window_experts import WindowExperts

PLAIN = Parametrization("epsilon", "residual")  # nets answer the noise itself, as restorers do


def whose(template: Any, strategy: WindowExperts, levels: torch.Tensor) -> list[str]:
    """`old` or `new`, for each level in one batch."""
    model = template.model.model
    old = {name: torch.zeros_like(w) for name, w in model.net.state_dict().items()}
    new = {name: torch.zeros_like(w) for name, w in model.net.state_dict().items()}
    new["out.bias"] += 1
    model.net.load_state_dict(new)
    restorer = Restorer(
        model, template.learner.degradation, experts=strategy.experts({"first": old})
    )
    denoiser = restorer.denoiser(torch.zeros(len(levels), 3, 4, 4, dtype=torch.uint8))
    with torch.no_grad():
        answer = denoiser(torch.zeros(len(levels), 3, 16, 16), None, levels)
    assert all(len(row.unique()) == 1 for row in answer)
    return ["new" if row.max() > 0.5 else "old" for row in answer]


@pytest.mark.parametrize(("start", "stop"), [(0, 20), (20, 60), (60, 100), (0, 100), (41, 42)])
def test_inside_the_window_it_is_the_new_net_and_outside_the_old_one(
    world: Any, start: int, stop: int
) -> None:
    """Levels as samplers have them, float32 of sqrt(gamma_t); t = start + 1, ..., stop."""
    template = world.template(parametrization=PLAIN)
    levels = template.model.model.schedule.gammas.sqrt()[1:].float()
    expected = ["new" if start < t <= stop else "old" for t in range(1, 101)]
    assert whose(template, WindowExperts(start, stop), levels) == expected
    for t in (1, start, start + 1, stop, stop + 1, 100):
        if 1 <= t <= 100:
            alone = whose(template, WindowExperts(start, stop), levels[t - 1 : t])
            assert alone == [expected[t - 1]]


@pytest.mark.parametrize("start", [1, 2, 10, 1000])
def test_the_borders_are_exact_for_the_schedule_of_the_paper(world: Any, start: int) -> None:
    template = world.template(schedule=NoiseSchedule.linear(2000), parametrization=PLAIN)
    levels = template.model.model.schedule.gammas.sqrt()[1:].float()
    expected = ["new" if start < t <= 1500 else "old" for t in range(1, 2001)]
    assert whose(template, WindowExperts(start, 1500), levels) == expected


def test_a_window_from_0_has_the_first_time_step_of_the_papers_schedule(world: Any) -> None:
    template = world.template(schedule=NoiseSchedule.linear(2000), parametrization=PLAIN)
    levels = template.model.model.schedule.gammas.sqrt()[1:3].float()
    assert whose(template, WindowExperts(0, 1000), levels) == ["new", "new"]


def test_the_old_net_is_that_of_the_first_domain(world: Any) -> None:
    strategy, settings = WindowExperts(0, 20), {"ema": 0.5, "parametrization": PLAIN}
    template = world.train(strategy, experiences=1, **settings)
    net = template.learner.net
    first = {name: weight.clone() for name, weight in net.state_dict().items()}
    world.learn(template, [1, 2])
    own = template.memory["0-window-experts"]
    assert all(torch.equal(own["first"][name], weight) for name, weight in first.items())
    assert template.strategy.experts(template.memory).extra_parameters == 243
    schedule = template.model.model.schedule
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(3, 3, 16, 16, generator=generator)
    level = schedule.gammas.sqrt()[torch.tensor([20, 21, 90])].float()
    denoiser = template.restorer().denoiser(world.samples(0, 3).lr)
    old, shown = world.template().learner.net, denoiser.condition
    old.load_state_dict(first)
    with torch.no_grad():
        answer = denoiser(noisy, None, level)
        assert torch.allclose(answer[0], net(noisy, shown, level)[0], atol=1e-6)
        assert torch.allclose(answer[1:], old(noisy, shown, level)[1:], atol=1e-6)
        assert not torch.allclose(answer[1:], net(noisy, shown, level)[1:], atol=1e-4)


def test_in_the_first_experience_there_is_one_net(world: Any) -> None:
    template = world.template("window-experts:stop=20")
    found: list[Any] = []
    forward = template.forward

    def spy() -> torch.Tensor:
        found.append(template.strategy.experts(template.memory))
        out: torch.Tensor = forward()
        return out

    template.forward = spy
    world.learn(template, [0])
    assert found == [None] * 3


def test_after_the_first_experience_both_are_the_same(world: Any) -> None:
    template = world.train("window-experts:stop=20", experiences=1)
    lr, seeds = world.samples(0, 2).lr, range(2)
    plain = world.restored(template, template.learner.net, lr, seeds)
    assert torch.equal(template.restorer().restore(lr, seeds), plain)


def test_it_trains_as_timestep_window_does(world: Any) -> None:
    alone, experts = (
        world.train(f"{name}:start=10,stop=30") for name in ("timestep-window", "window-experts")
    )
    assert torch.equal(alone.learner.weights(), experts.learner.weights())
    assert not torch.equal(alone.learner.weights(), world.train("finetune").learner.weights())
