"""Synaptic intelligence, worked by hand for a quadratic loss."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from cl_sr.avalanche import SupervisedPlugin
from cl_sr.errors import InputError
from cl_sr.strategies.plugins.path_integral import PathIntegral
from cl_sr.strategies.si import Si

RATE = 0.1


def quadratic(weights: list[float]) -> Any:
    """As much of a template as the plugin looks at."""
    net = nn.Module()
    net.weight = nn.Parameter(torch.tensor(weights, dtype=torch.float64))
    learner = SimpleNamespace(
        net=net, weights=lambda: torch.cat([p.flatten() for p in net.parameters()])
    )
    return SimpleNamespace(learner=learner, loss=None)


def experience(plugin: PathIntegral, template: Any, curvature: Any, at: Any, steps: int) -> None:
    """Gradient descent on sum curvature / 2 (w - at)^2."""
    curvature, at = torch.tensor(curvature), torch.tensor(at)
    weight = template.learner.net.weight
    plugin.before_training_exp(template)
    for _ in range(steps):
        template.learner.net.zero_grad()
        template.loss = (curvature / 2 * (weight - at).square()).sum()
        plugin.before_backward(template)
        template.loss.backward()
        plugin.before_update(template)
        with torch.no_grad():
            weight -= RATE * weight.grad
        plugin.after_update(template)
    plugin.after_training_exp(template)


def test_two_steps_by_hand() -> None:
    """Loss w1^2 + w2^2 / 2 from (1, 2), at a rate of 0.1.

    Step 1: g = (2, 2), dw = (-.2, -.2).  Step 2: w = (.8, 1.8), g = (1.6, 1.8), dw = (-.16, -.18).
    omega = (.4 + .256, .4 + .324) = (.656, .724), Dw = (-.36, -.38).
    """
    plugin, template = PathIntegral(weight=3.0, xi=0.01), quadratic([1.0, 2.0])
    experience(plugin, template, [2.0, 1.0], [0.0, 0.0], steps=2)
    expected = torch.tensor([0.656 / (0.1296 + 0.01), 0.724 / (0.1444 + 0.01)])
    assert torch.allclose(plugin.vectors["importance"], expected.double())
    assert set(plugin.vectors) == {"importance"}  # a number a weight is what is kept
    assert plugin._step is None


def test_the_second_experience_by_hand() -> None:
    """One weight. The penalty moves it, but only the data's gradient counts in omega.

    From w = 1 with importance 4 and weight 0.5: L = (w - 3)^2 / 2 + 0.5 * 4 (w - 1)^2.
    Step 1: g = -2, dw = .2.  Step 2: w = 1.2, g = -1.8, the penalty's is 4 * .2 = .8: dw = .1.
    omega = .4 + .18 = .58, Dw = .3; Omega = 4 + .58 / (.09 + .01) = 9.8.
    """
    plugin, template = PathIntegral(weight=0.5, xi=0.01), quadratic([1.0])
    plugin.vectors = {"importance": torch.tensor([4.0], dtype=torch.float64)}
    experience(plugin, template, [1.0], [3.0], steps=2)
    assert float(template.learner.net.weight.detach()) == pytest.approx(1.3)
    assert float(plugin.vectors["importance"]) == pytest.approx(9.8)


def test_a_path_that_made_the_loss_larger_counts_for_nothing() -> None:
    plugin, template = PathIntegral(weight=1.0, xi=0.1), quadratic([1.0])
    plugin.before_training_exp(template)
    template.learner.net.weight.grad = torch.tensor([2.0], dtype=torch.float64)
    plugin.before_update(template)
    with torch.no_grad():
        template.learner.net.weight += 1  # uphill
    plugin.after_update(template)
    plugin.after_training_exp(template)
    assert plugin.vectors["importance"].tolist() == [0]


def test_there_is_no_penalty_in_the_first_experience(world: Any) -> None:
    settings: dict[str, Any] = {"experiences": 1, "clip": 0}
    plain, held = world.train("finetune", **settings), world.train(Si(weight=1e6), **settings)
    assert torch.equal(plain.learner.weights(), held.learner.weights())
    before = held.learner.weights().detach()
    world.learn(held, [1])
    world.learn(plain, [1])
    assert (held.learner.weights() - before).norm() < (plain.learner.weights() - before).norm()


def test_in_a_run_it_follows_the_optimizer_whatever_that_is(world: Any) -> None:
    """Against gradients and changes that another plugin notes; the gradient is the unclipped."""

    class Record(SupervisedPlugin):
        def __init__(self) -> None:
            super().__init__()
            self.path = torch.zeros(())

        def before_update(self, template: Any, **_: Any) -> None:
            self.gradient = torch.cat([p.grad.flatten() for p in template.learner.net.parameters()])
            self.weights = template.learner.weights().detach()

        def after_update(self, template: Any, **_: Any) -> None:
            self.path = self.path - self.gradient * (
                template.learner.weights().detach() - self.weights
            )

    record = Record()
    template = world.template(Si(xi=1e-3), plugins=[record], clip=0.1)
    start = template.learner.weights().detach()
    world.learn(template, [0])
    (plugin,) = [p for p in template.plugins if isinstance(p, PathIntegral)]
    change = template.learner.weights().detach() - start
    expected = record.path.clamp(min=0) / (change.square() + 1e-3)
    assert expected.max() > 0
    assert torch.allclose(plugin.vectors["importance"], expected, rtol=1e-4, atol=1e-7)


def test_its_state_can_be_taken_and_put_back() -> None:
    plugin, template = PathIntegral(1.0, 0.01), quadratic([1.0, 2.0])
    experience(plugin, template, [2.0, 1.0], [0.0, 0.0], steps=2)
    other = PathIntegral(1.0, 0.01)
    other.load_state_dict(plugin.state_dict())
    same = quadratic(template.learner.net.weight.tolist())
    for p, t in ((plugin, template), (other, same)):
        experience(p, t, [1.0, 1.0], [4.0, -1.0], steps=3)
    assert torch.equal(template.learner.net.weight, same.learner.net.weight)
    assert torch.equal(plugin.vectors["importance"], other.vectors["importance"])


@pytest.mark.parametrize("options", [{"weight": -1.0}, {"xi": 0.0}])
def test_what_cannot_work_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="strategy si"):
        Si(**options).check(100)


def test_a_first_domain_without_iterations_is_refused(world: Any) -> None:
    with pytest.raises(InputError, match="no path"):
        world.train("si", iterations=[0, 2, 2])
