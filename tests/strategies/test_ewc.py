"""EWC against torch.func and against its formula."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.func import functional_call, grad, vmap

from cl_sr.errors import InputError
from cl_sr.strategies import find_strategy
from cl_sr.strategies.ewc import Ewc


def shown_while(
    template: Any, monkeypatch: pytest.MonkeyPatch, strategy: Ewc, memory: dict[str, Any]
) -> list[Any]:
    """What the net is shown at the end of an experience."""
    shown: list[Any] = []
    show = template.model.show

    def spy(packed: torch.Tensor, window: Any = None) -> Any:
        shown.append(show(packed, window))
        return shown[-1]

    with monkeypatch.context() as patch:
        patch.setattr(template.model, "show", spy)
        strategy.end(template.learner, memory)
    return shown


def single_gradients(net: torch.nn.Module, shown: list[Any]) -> torch.Tensor:
    """The gradient of each image's mean squared error, `(N, weights)`, by torch.func."""
    weights = {name: weight.detach() for name, weight in net.named_parameters()}

    def loss(weights: Any, noisy: Any, condition: Any, level: Any, truth: Any) -> torch.Tensor:
        arguments = (noisy[None], condition[None], level[None])
        return (functional_call(net, weights, arguments)[0] - truth).square().mean()

    inputs = [
        torch.cat([getattr(seen, name) for seen in shown])
        for name in ("noisy", "condition", "level", "truth")
    ]
    found = vmap(grad(loss), in_dims=(None, 0, 0, 0, 0))(weights, *inputs)
    return torch.cat([found[name].flatten(1) for name in weights], dim=1)


def test_the_fisher_information_is_the_mean_square_of_single_images_gradients(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    template, memory = world.template(), dict[str, Any]()
    shown: list[Any] = []

    def take() -> None:
        shown.extend(shown_while(template, monkeypatch, Ewc(samples=20), memory))

    world.at_end(template, 0, take)
    assert [len(seen.noisy) for seen in shown] == [1] * 20  # 14 images, some of them twice
    gradients = single_gradients(template.learner.net, shown)
    expected = gradients.square().mean(0)
    assert torch.allclose(memory["fisher"], expected / expected.mean(), rtol=1e-4, atol=1e-6)
    of_the_batch = gradients.mean(0).square()
    other = of_the_batch / of_the_batch.mean()
    assert not torch.allclose(memory["fisher"], other, rtol=0.1)
    assert float(memory["fisher"].mean()) == pytest.approx(1, abs=1e-5)


def test_taking_it_leaves_the_model_as_it_was(world: Any) -> None:
    template = world.template("timestep-window:stop=5+ewc:samples=2")

    def take() -> None:
        template.model.window = (1, 2)
        before = template.learner.weights().detach()
        template.strategy.parts[1].end(template.learner, {})
        assert template.model.window == (1, 2)
        assert template.model.training
        assert torch.equal(before, template.learner.weights())

    world.at_end(template, 0, take)


def test_it_is_taken_in_the_window_of_the_next_experience(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = world.template("timestep-window:start=20,stop=30+ewc:samples=1")
    shown: list[Any] = []
    world.at_end(
        template, 0, lambda: shown.extend(shown_while(template, monkeypatch, Ewc(samples=60), {}))
    )
    levels = torch.cat([seen.level for seen in shown]).double()
    border = template.model.model.schedule.gammas.sqrt()
    assert (levels >= border[30] - 1e-6).all()
    assert (levels <= border[20] + 1e-6).all()
    assert float(levels.max() - levels.min()) > 0.7 * float(border[20] - border[30])


def test_the_penalty_and_its_gradient_by_hand(world: Any) -> None:
    learner = world.template("finetune").learner
    count = len(learner.weights())
    fisher = torch.linspace(0, 2, count)
    away = torch.linspace(-1, 1, count)
    memory = {"fisher": fisher, "start": learner.weights().detach() - away}
    penalty = Ewc(weight=0.3).penalty(learner, memory)
    assert isinstance(penalty, torch.Tensor)
    assert float(penalty.detach()) == pytest.approx(
        0.15 * float((fisher * away**2).sum()), rel=1e-5
    )
    found = torch.autograd.grad(penalty, list(learner.net.parameters()))
    gradient = torch.cat([g.flatten() for g in found])
    assert torch.allclose(gradient, 0.3 * fisher * away, atol=1e-6)


def test_nothing_holds_the_first_experience_and_all_earlier_ones_hold_the_third(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy = find_strategy("ewc:weight=0,samples=3")
    template = world.template(strategy)
    learner = template.learner
    taken: list[torch.Tensor] = []
    fisher = Ewc._fisher

    def spy(self: Ewc, learner: Any) -> torch.Tensor:
        taken.append(fisher(self, learner))
        return taken[-1]

    monkeypatch.setattr(Ewc, "_fisher", spy)
    assert strategy.penalty(learner, {}) == 0
    world.learn(template, [0, 1])
    after_two = learner.weights().detach()
    memory = template.memory["0-ewc"]
    assert set(memory) == {"fisher"}  # a number a weight is what is kept
    expected = sum(one / one.mean() for one in taken)
    assert len(taken) == 2
    assert torch.allclose(memory["fisher"], torch.as_tensor(expected))
    learner.number = 2
    strategy.begin(learner, memory)
    assert torch.equal(memory["start"], after_two)
    with torch.no_grad():
        for weight in learner.net.parameters():
            weight += 0.1
    penalty = Ewc(weight=2.0).penalty(learner, memory)
    assert isinstance(penalty, torch.Tensor)
    assert float(penalty.detach()) == pytest.approx(0.01 * float(memory["fisher"].sum()), rel=1e-4)


def test_a_large_weight_holds_the_weights(world: Any) -> None:
    def way(text: str) -> float:
        template = world.train(text, experiences=1)
        before = template.learner.weights().detach()
        world.learn(template, [1])
        fisher = template.memory.get("0-ewc", {}).get("fisher")
        moved = (template.learner.weights().detach() - before).square()
        return float((moved * (fisher if fisher is not None else 1)).sum())

    assert way("ewc:weight=1000,samples=8") < 0.8 * way("ewc:weight=0,samples=8")


@pytest.mark.parametrize("options", [{"weight": -1.0}, {"weight": float("nan")}, {"samples": 0}])
def test_what_cannot_work_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="strategy ewc"):
        Ewc(**options).check(100)
