"""Experts by noise level: whose answer it is at each time-step."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl_sr.diffusion import NoiseSchedule
from cl_sr.strategies.window_experts import WindowExperts


def whose(template: Any, strategy: WindowExperts, levels: torch.Tensor) -> list[str]:
    """`old` or `new`, for each level in one batch."""
    old = {name: torch.zeros_like(w) for name, w in template.net.state_dict().items()}
    new = {name: torch.zeros_like(w) for name, w in template.net.state_dict().items()}
    new["out.bias"] += 1
    template.net.load_state_dict(new)
    net = strategy.denoiser(template, {"first": old}, torch.zeros(len(levels), 3, 4, 4))
    x = torch.zeros(len(levels), 3, 4, 4)
    with torch.no_grad():
        answer = net(x, x, levels)
    assert all(len(row.unique()) == 1 for row in answer)
    return ["new" if row.max() > 0.5 else "old" for row in answer]


def at_number_one(world: Any, **changes: Any) -> Any:
    template = world.template(**changes)
    template.learning = world.benchmark.train_stream[1]
    return template


@pytest.mark.parametrize(("start", "stop"), [(0, 20), (20, 60), (60, 100), (0, 100), (41, 42)])
def test_inside_the_window_it_is_the_new_net_and_outside_the_old_one(
    world: Any, start: int, stop: int
) -> None:
    """Levels as samplers have them, float32 of sqrt(gamma_t); t = start + 1, ..., stop."""
    template = at_number_one(world)
    levels = template.model.schedule.gammas.sqrt()[1:].float()
    expected = ["new" if start < t <= stop else "old" for t in range(1, 101)]
    assert whose(template, WindowExperts(start, stop), levels) == expected
    for t in (1, start, start + 1, stop, stop + 1, 100):
        if 1 <= t <= 100:
            alone = whose(template, WindowExperts(start, stop), levels[t - 1 : t])
            assert alone == [expected[t - 1]]


@pytest.mark.parametrize("start", [1, 2, 10, 1000])
def test_the_borders_are_exact_for_the_schedule_of_the_paper(world: Any, start: int) -> None:
    template = at_number_one(world, schedule=NoiseSchedule.linear(2000))
    levels = template.model.schedule.gammas.sqrt()[1:].float()
    expected = ["new" if start < t <= 1500 else "old" for t in range(1, 2001)]
    assert whose(template, WindowExperts(start, 1500), levels) == expected


def test_a_window_from_0_has_the_first_time_step_of_the_papers_schedule(world: Any) -> None:
    template = at_number_one(world, schedule=NoiseSchedule.linear(2000))
    levels = template.model.schedule.gammas.sqrt()[1:3].float()
    assert whose(template, WindowExperts(0, 1000), levels) == ["new", "new"]


def test_the_old_net_is_that_of_the_first_domain(world: Any) -> None:
    template = world.train(WindowExperts(0, 20), experiences=1, ema=0.5)
    first = {name: weight.clone() for name, weight in template.net.state_dict().items()}
    world.learn(template, [1, 2])
    own = template.memory["0-window-experts"]
    assert all(torch.equal(own["first"][name], weight) for name, weight in first.items())
    assert template.strategy.extra_parameters(template.memory) == 243
    schedule = template.model.schedule
    generator = torch.Generator().manual_seed(0)
    noisy, condition = torch.randn(2, 3, 3, 8, 8, generator=generator)
    level = schedule.gammas.sqrt()[torch.tensor([20, 21, 90])].float()
    answer = template.strategy.denoiser(template, template.memory, noisy)(noisy, condition, level)
    old = world.template().net
    old.load_state_dict(first)
    with torch.no_grad():
        assert torch.allclose(answer[0], template.net(noisy, condition, level)[0], atol=1e-6)
        assert torch.allclose(answer[1:], old(noisy, condition, level)[1:], atol=1e-6)


def test_in_the_first_experience_there_is_one_net(world: Any) -> None:
    template = world.train("window-experts:stop=20", experiences=1)
    lr = torch.zeros(1, 3, 4, 4)
    assert template.strategy.denoiser(template, template.memory, lr) is template.inference_net


def test_it_trains_as_timestep_window_does(world: Any) -> None:
    alone, experts = (
        world.train(f"{name}:start=10,stop=30") for name in ("timestep-window", "window-experts")
    )
    assert torch.equal(alone.weights(), experts.weights())
    assert not torch.equal(alone.weights(), world.train("finetune").weights())
