"""Avalanche's own plugins: the fit ones act, the others say why they do not."""

from __future__ import annotations

import json
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cl_sr.avalanche import SupervisedPlugin
from cl_sr.errors import InputError
from cl_sr.strategies import Choice, Does, Traits, find_strategy
from cl_sr.strategies.avalanche import FIT, UNFIT, Avalanche
from cl_sr.strategies.plugins.scheduling import Scheduling

ARGUMENTS = {
    "AGEMPlugin": "patterns_per_experience=8,sample_size=8",
    "EWCPlugin": "ewc_lambda=1000",
    "GEMPlugin": "patterns_per_experience=8,memory_strength=0.5",
    "LRSchedulerPlugin": "scheduler=StepLR,step_size=1,gamma=0.5",
    "MASPlugin": "lambda_reg=100,alpha=0.5",
    "RWalkPlugin": "ewc_lambda=100,delta_t=2",
    "ReplayPlugin": "mem_size=8",
    "SynapticIntelligencePlugin": "si_lambda=1000",
}
SHAPES = {"mix.weight": (4, 54, 3, 3), "mix.bias": (4,)}  # of a net: then plugins can be made


def test_each_fit_one_is_tried_here() -> None:
    assert ARGUMENTS.keys() == FIT.keys()
    assert not FIT.keys() & UNFIT.keys()


def test_every_plugin_of_avalanche_is_fit_or_says_why_not() -> None:
    from avalanche.training import plugins

    there = {
        name
        for name, cls in vars(plugins).items()
        if isinstance(cls, type) and issubclass(cls, SupervisedPlugin) and cls != SupervisedPlugin
    }
    assert there <= FIT.keys() | UNFIT.keys()


@pytest.mark.parametrize("plugin", sorted(FIT))
def test_each_fit_one_trains(world: Any, plugin: str) -> None:
    if plugin == "GEMPlugin":
        pytest.importorskip("quadprog")
    strategy = find_strategy(f"avalanche:{plugin}:{ARGUMENTS[plugin]}")
    strategy.check(100)
    strategy.check(100, SHAPES)
    template = world.template(strategy, iterations=[4, 6, 3])
    before = template.learner.weights().detach()
    for number in range(3):
        world.learn(template, [number])
        after = template.learner.weights().detach()
        assert after.isfinite().all()
        assert not torch.equal(before, after)
        before = after
    assert len(template.stopwatch.seconds) == 3


@pytest.mark.parametrize(
    ("plugin", "strength"),
    [
        ("EWCPlugin", "ewc_lambda"),
        ("MASPlugin", "lambda_reg"),
        ("RWalkPlugin", "ewc_lambda"),
        ("SynapticIntelligencePlugin", "si_lambda"),
    ],
)
def test_a_regularizer_holds_the_weights_from_the_second_domain_on(
    world: Any, plugin: str, strength: str
) -> None:
    def way(value: float) -> tuple[torch.Tensor, float]:
        text = f"avalanche:{plugin}:{strength}={value}"
        template = world.train(text, experiences=1, iterations=[10, 30, 1], clip=0)
        before = template.learner.weights().detach()
        world.learn(template, [1])
        return before, float((template.learner.weights().detach() - before).norm())

    (first, free), (same, held) = way(0.0), way(1e5)
    assert torch.equal(first, same)
    assert held < 0.8 * free


def test_replay_adds_images_of_the_first_domain_to_batches_of_the_second(world: Any) -> None:
    template = world.template("avalanche:ReplayPlugin:mem_size=8,batch_size_mem=3")
    batches: list[list[int]] = []
    forward = template.forward

    def spy() -> torch.Tensor:
        batches.append([int(k < 0) for k in world.places(0, template.samples.hr)])
        out: torch.Tensor = forward()
        return out

    template.forward = spy
    world.learn(template, [0, 1])
    assert batches[:3] == [[0] * 4] * 3
    for domains in batches[3:]:  # of 8 images by threes, the last ones are two
        assert sorted(domains) in ([0] * 3 + [1] * 4, [0] * 2 + [1] * 4)


@pytest.mark.parametrize("plugin", ["AGEMPlugin", "GEMPlugin"])
def test_gradients_are_projected_where_they_would_hurt_the_past(world: Any, plugin: str) -> None:
    """g - min(0, g.r / r.r) r, with r the gradient on images of the one domain before.

    GEM's r.r has 0.001 added, for the solver.
    """
    if plugin == "GEMPlugin":
        pytest.importorskip("quadprog")
    text = f"avalanche:{plugin}:{ARGUMENTS[plugin].replace('=0.5', '=0')}"
    template = world.template(text, iterations=[4, 24, 1], clip=0, lr=0.05)
    hurt: list[bool] = []
    found: list[torch.Tensor] = []

    def gradient() -> torch.Tensor:
        return torch.cat([p.grad.flatten() for p in template.learner.net.parameters()]).double()

    class After(SupervisedPlugin):
        def after_backward(self, *_: Any, **__: Any) -> None:
            if template.learner.number == 0:
                return
            own = next(p for p in template.plugins if type(p).__name__ == plugin)
            past = own.reference_gradients if plugin == "AGEMPlugin" else own.G[0]
            along = found[-1] @ past.double()
            hurt.append(bool(along < 0))
            square = past.double().square().sum() + (0 if plugin == "AGEMPlugin" else 1e-3)
            expected = found[-1] - along.clamp(max=0) / square * past
            assert torch.allclose(gradient(), expected, atol=1e-5)

    backward = template.backward

    def spy() -> None:
        backward()
        found.append(gradient())

    template.backward = spy
    template.plugins.append(After())
    world.learn(template, [0, 1])
    assert set(hurt) == {True, False}


@pytest.mark.skipif(find_spec("quadprog") is not None, reason="quadprog is installed")
def test_gem_without_its_solver_is_refused_before_a_run() -> None:
    with pytest.raises(InputError, match="quadprog"):
        find_strategy(f"avalanche:GEMPlugin:{ARGUMENTS['GEMPlugin']}").check(100, SHAPES)


@pytest.mark.parametrize("plugin", sorted(UNFIT))
def test_an_unfit_one_says_why(plugin: str) -> None:
    with pytest.raises(InputError, match="does not work here") as error:
        find_strategy(f"avalanche:{plugin}").check(100)
    assert UNFIT[plugin] in str(error.value)


@pytest.mark.parametrize("plugin", sorted(UNFIT))
def test_what_is_called_unfit_is_there(plugin: str) -> None:
    from avalanche.training import plugins

    assert hasattr(plugins, plugin) or plugin == "FromScratchTrainingPlugin"


@pytest.mark.parametrize("plugin", [n for n, why in UNFIT.items() if "use the strategy" in why])
def test_the_strategy_that_is_named_instead_is_shipped(plugin: str) -> None:
    find_strategy(UNFIT[plugin].rsplit("strategy ", 1)[1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ReplayPlugn", "did you mean 'ReplayPlugin'"),
        ("ReplayPlugin:mem_sise=3", "mem_sise.*it takes mem_size"),
        ("ReplayPlugin:mem_size", "'mem_size' is not"),
        ("ReplayPlugin:mem_size=1.5", "mem_size=1.5 is not a positive whole number"),
        ("ReplayPlugin:mem_size=0", "mem_size=0 is not a positive whole number"),
        ("ReplayPlugin:batch_size=0", "batch_size=0 is not a positive whole number"),
        ("AGEMPlugin:patterns_per_experience=8,sample_size=0", "sample_size=0 is not a positive"),
        ("SynapticIntelligencePlugin:si_lambda=much", "si_lambda=much is not a number"),
        ("EWCPlugin", "ewc_lambda"),
        ("AGEMPlugin:sample_size=3", "patterns_per_experience"),
        ("ReplayPlugin:arguments=3", "arguments"),
    ],
)
def test_what_is_wrong_is_named_before_a_run(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        find_strategy(f"avalanche:{text}").check(100)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("step_size=3,speed=2", "speed"),
        ("scheduler=StepLR", "step_size"),
        ("scheduler=Nothing", "has no 'Nothing'"),
        ("scheduler=Optimizer", "has no 'Optimizer'"),
        ("scheduler=ReduceLROnPlateau", "metric"),
    ],
)
def test_what_pytorch_does_not_take_is_named_when_there_is_a_net(
    arguments: str, message: str
) -> None:
    strategy = find_strategy(f"avalanche:LRSchedulerPlugin:{arguments}")
    strategy.check(100)  # without torch, it cannot be known
    with pytest.raises(InputError, match=message) as error:
        strategy.check(100, SHAPES)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["avalanche", "avalanche:"])
def test_a_plugin_must_be_named(text: str) -> None:
    with pytest.raises(InputError, match="avalanche has no plugin ''"):
        find_strategy(text).check(100)


@pytest.mark.parametrize(
    "strategy",
    [
        find_strategy("avalanche:ReplayPlugin:mem_size=7,batch_size_mem=3"),
        find_strategy(
            Choice("avalanche", {"plugin": "ReplayPlugin", "mem_size": 7, "batch_size_mem": 3})
        ),
        Avalanche("ReplayPlugin", {"mem_size": "7", "batch_size_mem": 3}),
    ],
    ids=["text", "config.yaml", "Python"],
)
def test_arguments_reach_the_plugin(strategy: Any) -> None:
    (plugin,) = strategy.plugins()
    assert (plugin.mem_size, plugin.batch_size_mem, plugin.batch_size) == (7, 3, None)


def test_each_run_has_plugins_of_its_own(world: Any) -> None:
    strategy = find_strategy("avalanche:ReplayPlugin:mem_size=7")
    templates = [world.template(strategy) for _ in range(2)]
    first, second = (
        [p for p in t.plugins if type(p).__name__ == "ReplayPlugin"] for t in templates
    )
    assert len(first) == len(second) == 1
    assert first[0] is not second[0]


@pytest.mark.parametrize("plugin", sorted(FIT))
def test_which_hold_weights_and_which_set_the_pace(plugin: str) -> None:
    """By what they are called and documented as; of none the first domain is plain fine-tuning."""
    held = {"EWCPlugin", "MASPlugin", "RWalkPlugin", "SynapticIntelligencePlugin"}
    does = {Does.HOLDS_WEIGHTS} if plugin in held else set()
    does |= {Does.SETS_PACE} if plugin == "LRSchedulerPlugin" else set()
    traits = Avalanche(plugin).traits
    assert traits == Traits(does=frozenset(does), contiguous=plugin == "AGEMPlugin")


def rates(world: Any, text: str, iterations: list[int], **changes: Any) -> list[list[float]]:
    """The learning rate of each iteration, by experience."""
    template = world.template(text, iterations=iterations, **changes)
    found: list[list[float]] = [[], []]
    forward = template.forward

    def spy() -> torch.Tensor:
        found[template.learner.number].append(template.optimizer.param_groups[0]["lr"])
        out: torch.Tensor = forward()
        return out

    template.forward = spy
    world.learn(template, [0, 1])
    return found


def test_the_rate_falls_by_steps_and_anew_in_each_experience(world: Any) -> None:
    """StepLR: rate * gamma^floor(i / step_size) at the i-th iteration, from 0."""
    text = "avalanche:LRSchedulerPlugin:scheduler=StepLR,step_size=2,gamma=0.1"
    found = rates(world, text, [5, 4, 1], lr=0.01)
    for number, count in enumerate((5, 4)):
        expected = [0.01 * 0.1 ** (i // 2) for i in range(count)]
        assert found[number] == pytest.approx(expected)


def test_a_cosine_schedule_by_hand(world: Any) -> None:
    from math import cos, pi

    text = "avalanche:LRSchedulerPlugin:scheduler=CosineAnnealingLR,T_max=6"
    found = rates(world, text, [6, 6, 1], lr=0.01)
    expected = [0.01 * (1 + cos(pi * i / 6)) / 2 for i in range(6)]
    assert found == [pytest.approx(expected)] * 2


@pytest.mark.parametrize("experience", [0, 1])
def test_a_schedule_that_begins_low_ends_at_the_rate_that_was_asked_for(
    world: Any, experience: int
) -> None:
    """LinearLR: rate * (1/2 + i / 8) up to i = 4."""
    text = "avalanche:LRSchedulerPlugin:scheduler=LinearLR,start_factor=0.5,total_iters=4"
    found = rates(world, text, [6, 6, 1], lr=0.01)
    expected = [0.01 * (0.5 + min(i, 4) / 8) for i in range(6)]
    assert found[experience] == pytest.approx(expected)


def test_a_list_of_milestones_can_be_given(world: Any) -> None:
    text = "avalanche:LRSchedulerPlugin:scheduler=MultiStepLR,milestones=[1,3],gamma=0.5"
    found = rates(world, text, [4, 1, 1], lr=0.01)
    assert found[0] == pytest.approx([0.01, 0.005, 0.005, 0.0025])


def test_a_schedule_goes_on_from_its_state() -> None:
    def scheduling() -> tuple[torch.optim.Optimizer, Scheduling]:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        plugin = Scheduling("StepLR", {"step_size": 3, "gamma": 0.5})
        plugin.before_training_exp(SimpleNamespace(optimizer=optimizer))
        return optimizer, plugin

    # The plugin asks nothing else of a template.
    template = SimpleNamespace(
        is_training=True, clock=SimpleNamespace(train_exp_counter=0, train_exp_epochs=0)
    )

    def step(optimizer: torch.optim.Optimizer, plugin: Scheduling) -> float:
        optimizer.step()
        plugin.after_training_iteration(template)
        return float(optimizer.param_groups[0]["lr"])

    optimizer, plugin = scheduling()
    whole = [step(optimizer, plugin) for _ in range(8)]
    assert whole == [0.5 ** ((i + 1) // 3) for i in range(8)]
    optimizer, plugin = scheduling()
    for _ in range(4):
        step(optimizer, plugin)
    state = json.loads(json.dumps(plugin.state_dict()))
    again, resumed = scheduling()
    resumed.load_state_dict(state)
    again.param_groups[0]["lr"] = optimizer.param_groups[0]["lr"]  # the run's own state has it
    assert [step(again, resumed) for _ in range(4)] == whole[4:]
