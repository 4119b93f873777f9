"""What a strategy may touch of a run: its learner, and the images of an experience."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from cl_sr.data.samples import Samples
from cl_sr.degradations.pixels import to_floats
from cl_sr.diffusion import Sampling
from cl_sr.errors import InputError
from cl_sr.strategies import Strategy, compose
from cl_sr.training.images import ExperienceImages


def images(world: Any, domain: int = 0) -> ExperienceImages:
    return ExperienceImages(world.benchmark.train_stream[domain].dataset, 4, True)


# The learning rate


@dataclass(frozen=True)
class Slower(Strategy):
    """Learns later domains at another rate."""

    factor: Any = 0.5

    def adapt(self, learner: Any, memory: Any) -> None:
        if learner.number:
            learner.lr = learner.lr * self.factor


@dataclass(frozen=True)
class SlowerStill(Slower):
    """As the other."""


def test_the_rate_is_the_experiences_and_begins_as_configured_in_each(world: Any) -> None:
    @dataclass(frozen=True)
    class FirstAlone(Strategy):
        """Learns the first domain fast."""

        def adapt(self, learner: Any, memory: Any) -> None:
            if not learner.number:
                learner.lr *= 4

    assert world.rates(Slower(), lr=0.01) == pytest.approx([0.01] * 3 + [0.005] * 3)
    assert world.rates(FirstAlone(), lr=0.01) == pytest.approx([0.04] * 3 + [0.01] * 3)


def test_each_strategy_changes_the_rate_that_the_one_before_it_left(world: Any) -> None:
    both = compose(Slower(0.5), SlowerStill(0.1))
    assert world.rates(both, lr=0.01) == pytest.approx([0.01] * 3 + [0.0005] * 3)


@pytest.mark.parametrize(
    "factor", [0.0, -1.0, float("nan"), float("inf"), torch.tensor(1.0)], ids=str
)
def test_a_rate_that_is_no_positive_float_is_refused_by_its_strategys_name(
    world: Any, factor: Any
) -> None:
    template = world.template(compose("replay:size=4", Slower(factor)))
    world.learn(template, [0])
    told = r"^strategy slower: learner\.lr must be a positive float, not "
    with pytest.raises(InputError, match=told):
        world.learn(template, [1])


def test_a_rate_that_is_no_float_is_refused(world: Any) -> None:
    template = world.template("replay:size=4", lr=0.01)
    template.learner.lr = 1
    with pytest.raises(InputError, match=r"learner\.lr must be a positive float, not 1$"):
        template.strategy.each("adapt", template.learner, {})


# The images


def test_images_are_drawn_with_their_low_resolution_ones(world: Any) -> None:
    drawn = images(world).draw(5)
    assert isinstance(drawn, Samples)
    assert (drawn.hr.shape, drawn.lr.shape) == ((5, 3, 16, 16), (5, 3, 4, 4))
    assert min(world.places(0, drawn.hr)) >= 0
    assert torch.equal(drawn.lr, world.template().learner.degradation.degrade(drawn.hr))


@pytest.mark.parametrize(
    ("count", "passes", "each"),
    [(14, 1, {1: 14}), (99, 1, {1: 14}), (28, 2, {2: 14}), (20, 2, {2: 6, 1: 8}), (5, 3, {1: 5})],
)
def test_all_come_once_before_any_comes_again(
    world: Any, count: int, passes: int, each: dict[int, int]
) -> None:
    torch.manual_seed(2)
    places = world.places(0, images(world).draw(count, passes).hr)
    assert Counter(Counter(places).values()) == each
    assert len(set(places[:14])) == min(14, len(places))


def test_low_resolution_images_are_those_of_all_images(world: Any) -> None:
    known = world.samples(0).lr
    either = {low.numpy().tobytes() for low in torch.cat([known, known.flip(-1)])}
    low = images(world).low_resolution(3)
    assert (low.dtype, low.shape) == (torch.uint8, (42, 3, 4, 4))
    assert {one.numpy().tobytes() for one in low} <= either
    means = sorted(low.float().mean(dim=(1, 2, 3)).tolist())
    assert means == sorted(known.float().mean(dim=(1, 2, 3)).tolist() * 3)


def test_what_is_held_out_are_the_last_ones(world: Any) -> None:
    of = images(world)
    assert len(of) == 14
    of.hold_out(4)
    assert len(of) == 10
    assert world.places(0, of.held_out.hr) == [10, 11, 12, 13]
    assert set(world.places(0, of.draw(99).hr)) == set(range(10))


def test_where_several_hold_out_images_the_largest_number_counts(world: Any) -> None:
    of = images(world)
    for count, left in ((2, 12), (5, 9), (3, 9), (0, 9)):
        of.hold_out(count)
        assert len(of) == left
    assert world.places(0, of.held_out.hr) == list(range(9, 14))


@pytest.mark.parametrize("count", [14, 15, -1, 1.0, True, None, "3", torch.tensor(3)], ids=repr)
def test_a_number_that_cannot_be_held_out_is_refused(world: Any, count: Any) -> None:
    of = images(world)
    told = r"images\.hold_out\(\) takes a whole number of at most 13 images, not "
    with pytest.raises(InputError, match=told):
        of.hold_out(count)
    assert len(of) == 14
    of.hold_out(13)  # one is left to be learnt
    assert len(of) == 1


def test_nothing_is_held_out_unless_it_was_asked_for(world: Any) -> None:
    of = images(world)
    of.hold_out(0)
    assert len(of) == 14
    assert len(of.held_out) == 0


def test_each_experience_holds_out_anew(world: Any) -> None:
    @dataclass(frozen=True)
    class HoldsOut(Strategy):
        """Keeps some images of the first domain from training."""

        def adapt(self, learner: Any, memory: Any) -> None:
            if not learner.number:
                learner.images.hold_out(3)

        def end(self, learner: Any, memory: Any) -> None:
            memory[f"left-{learner.number}"] = len(learner.images)

    template = world.train(HoldsOut())
    assert template.memory["0-holds-out"] == {"left-0": 11, "left-1": 14}


# The weights


def test_the_state_is_a_copy_of_the_weights_for_inference(world: Any) -> None:
    template, found = world.template(ema=0.5), list[Any]()
    learner, forward = template.learner, template.forward

    def spy() -> torch.Tensor:
        found.append((learner.state(), learner.weights().detach().clone()))
        out: torch.Tensor = forward()
        return out

    template.forward = spy
    world.learn(template, [0])
    average = found[0][1]
    for n, (state, weights) in enumerate(found):
        if n:  # the n-th update
            average = average.lerp(weights, 1 - min(0.5, (1 + n) / (10 + n)))
        held = torch.cat([weight.flatten() for weight in state.values()])
        assert torch.allclose(held, average, atol=1e-6)
    assert not torch.allclose(held, weights, atol=1e-4)
    state = learner.state()
    assert state.keys() == learner.net.state_dict().keys()
    state["out.bias"] += 1
    assert not torch.equal(state["out.bias"], learner.net.state_dict()["out.bias"])


def test_the_net_of_other_weights_answers_as_they_do_without_gradients(world: Any) -> None:
    template = world.template()
    first = template.learner.state()
    world.learn(template, [0])
    learner, plain = template.learner, world.template().learner.net
    x = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8), torch.tensor([0.2, 0.7])
    answer = learner.net_of(first)(*x)
    assert torch.allclose(answer, plain(*x), atol=1e-6)
    assert not torch.allclose(answer, learner.net(*x), atol=1e-4)
    assert not answer.requires_grad


def test_images_are_restored_by_a_sampling_of_its_own_with_any_weights(world: Any) -> None:
    template = world.template()
    first = template.learner.state()
    world.learn(template, [0])
    lr, seeds, plain = world.samples(0, 5).lr, [3, 1, 4, 1, 5], world.template().learner.net
    found = template.learner.restore(lr, seeds, first, Sampling(steps=2), batch=2)
    assert torch.allclose(found, world.restored(template, plain, lr, seeds), atol=1e-5)
    now = world.restored(template, template.learner.net, lr, seeds)
    assert not torch.allclose(found, now, atol=1e-3)


@pytest.mark.parametrize(("experience", "window"), [(0, (0, 100)), (1, (20, 30))])
def test_the_loss_of_samples_is_that_of_an_experience(
    world: Any, experience: int, window: tuple[int, int]
) -> None:
    """By hand, from what the net is shown; and its draws are in the experience's window."""
    template = world.template("timestep-window:start=20,stop=30", loss="l1")
    shown: list[Any] = []
    show = template.model.show
    template.model.show = lambda *arguments: shown.append(show(*arguments)) or shown[-1]
    loss = template.learner.denoising_loss(world.samples(0), experience)
    (seen,) = shown
    assert float(loss) == pytest.approx(float((seen.answer - seen.truth).abs().mean()), rel=1e-6)
    assert loss.requires_grad
    border = template.model.model.schedule.gammas.sqrt()
    levels = seen.level.double()
    assert (levels >= border[window[1]] - 1e-6).all()
    assert (levels <= border[window[0]] + 1e-6).all()
    condition = template.learner.degradation.condition(world.samples(0).lr)
    assert torch.equal(seen.condition, to_floats(condition))


def test_a_learner_tells_where_in_the_stream_it_is(world: Any) -> None:
    @dataclass(frozen=True)
    class Notes(Strategy):
        """Notes what it is told in each hook."""

        def _note(self, learner: Any, memory: Any, hook: str) -> None:
            told = [learner.number, learner.last, len(learner.images), learner.seen is None]
            memory.setdefault("notes", []).append([hook, *told])

        def adapt(self, learner: Any, memory: Any) -> None:
            self._note(learner, memory, "adapt")

        def begin(self, learner: Any, memory: Any) -> None:
            self._note(learner, memory, "begin")

        def penalty(self, learner: Any, memory: Any) -> float:
            self._note(learner, memory, "penalty")
            return 0.0

        def settle(self, learner: Any, memory: Any) -> None:
            self._note(learner, memory, "settle")

        def end(self, learner: Any, memory: Any) -> None:
            self._note(learner, memory, "end")

    template = world.train(Notes(), experiences=3, iterations=[2, 1, 1], seed=5)
    expected = []
    for number, count in enumerate((2, 1, 1)):
        place = [number, number == 2, 14]
        expected += [["adapt", *place, True], ["begin", *place, True]]
        expected += [["penalty", *place, False]] * count
        expected += [["settle", *place, True], ["end", *place, True]]
    assert template.memory["0-notes"]["notes"] == expected
    assert template.learner.seed == 5
    assert template.learner.device == torch.device("cpu")


def test_the_shape_of_low_resolution_images_costs_no_random_numbers(world: Any) -> None:
    of = images(world)
    before = torch.get_rng_state()
    assert of.shape == tuple(of.held_out.lr.shape[1:])
    assert torch.equal(torch.get_rng_state(), before)
    assert of.shape == tuple(of.draw(1).lr.shape[1:])
