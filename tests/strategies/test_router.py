"""The router: which domain an image looks like, and whose weights restore it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl_sr.data.samples import Samples
from cl_sr.degradations.pixels import to_floats
from cl_sr.diffusion import Parametrization

OWN = "0-router"
PLAIN = Parametrization("epsilon", "residual")  # nets answer the noise itself, as restorers do


@pytest.fixture(scope="module", params=["factors", "weights"])
def trained(world: Any, request: pytest.FixtureRequest) -> Any:
    text = f"router:rank=2,train={request.param}"
    return world.train(text, experiences=3, parametrization=PLAIN)


def memory(template: Any) -> dict[str, Any]:
    own: dict[str, Any] = template.memory[OWN]
    return own


def test_domains_that_look_different_are_told_apart(world: Any, trained: Any) -> None:
    (strategy,) = trained.strategy.parts
    for domain in range(3):
        test = [world.benchmark.test_stream[domain].dataset[k][0] for k in range(3)]
        lr = Samples.unpack(torch.stack(test), 4).lr
        experts = strategy.experts(memory(trained))
        assert experts.route(to_floats(lr)).tolist() == [domain] * 3
        assert trained.restorer().route(lr).tolist() == [domain] * 3


def test_what_is_remembered_lies_where_images_are_routed(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a device that is not there: fake tensors refuse to meet those of another device."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    template = world.train("router:rank=2", experiences=1)
    (strategy,) = template.strategy.parts
    held: dict[str, Any] = {}
    with FakeTensorMode(allow_non_fake_inputs=True):
        images = torch.zeros(20, 3, 4, 4, dtype=torch.uint8)  # on the CPU, as they are
        monkeypatch.setattr(template.learner.images, "low_resolution", lambda _: images)
        monkeypatch.setattr(template.learner, "device", torch.device("cuda"))
        strategy.begin(template.learner, held)
        held["domain-1"] = held["domain-0"]
        chosen = strategy.experts(held).route(torch.zeros(2, 3, 4, 4, device="cuda"))
    assert chosen.device.type == "cuda"


def test_large_images_are_looked_at_in_small(world: Any, trained: Any) -> None:
    """The mean of each block: a larger copy goes where the small image goes."""
    (strategy,) = trained.strategy.parts
    held = dict(memory(trained))
    generator = torch.Generator().manual_seed(0)
    small = torch.randn(5, 3, 8, 8, generator=generator)
    from cl_sr.models.gaussian import Gaussian

    for k in range(3):
        images = torch.randn(9, 3, 8, 8, generator=generator) + k - 1
        held[f"domain-{k}"] = Gaussian.fit(images).tensors()
    large = small.repeat_interleave(4, -1).repeat_interleave(4, -2)
    experts = strategy.experts(held)
    assert torch.equal(experts.route(large), experts.route(small))


def test_each_row_is_answered_by_its_own_expert(world: Any, trained: Any) -> None:
    held = memory(trained)
    lr = torch.cat([world.samples(d, 1).lr for d in (2, 0, 1, 0)])
    generator = torch.Generator().manual_seed(1)
    noisy = torch.randn(4, 3, 16, 16, generator=generator)
    level = torch.linspace(0.1, 0.9, 4)
    denoiser = trained.restorer().denoiser(lr)
    with torch.no_grad():
        answer = denoiser(noisy, None, level)
    base, condition, answers = held["base"], denoiser.condition, []
    for domain in range(3):
        net = world.template().learner.net
        state = {name: weight.clone() for name, weight in base.items()}
        for name in list(state):
            layer = name.removesuffix(".weight")
            adapter = held.get(f"adapter-{domain}", {})
            if f"{layer}.A" in adapter:
                state[name] += (adapter[f"{layer}.B"] @ adapter[f"{layer}.A"]).view(
                    state[name].shape
                )
            elif f"{name}.D" in adapter:
                state[name] += adapter[f"{name}.D"]
        net.load_state_dict(state)
        with torch.no_grad():
            answers.append(net(noisy, condition, level))
    for row, domain in enumerate((2, 0, 1, 0)):
        assert torch.allclose(answer[row], answers[domain][row], atol=1e-5)
        others = [answers[d][row] for d in range(3) if d != domain]
        assert all(not torch.allclose(answer[row], other, atol=1e-3) for other in others)


@pytest.mark.parametrize("train", ["factors", "weights"])
def test_the_first_domain_is_restored_as_before_it_met_others(world: Any, train: str) -> None:
    template = world.train(f"router:rank=2,train={train}", experiences=1)
    lr, seeds = world.samples(0, 3).lr, range(3)
    before = template.restorer().restore(lr, seeds)
    world.learn(template, [1, 2])
    after = template.restorer().restore(lr, seeds)
    forgotten = world.restored(template, template.learner.net, lr, seeds)
    assert torch.equal(before, after)
    assert not torch.allclose(before, forgotten, atol=1e-3)


def test_the_domain_that_is_being_learnt_has_the_net_as_it_is(world: Any) -> None:
    template = world.train("router:rank=2", experiences=1, parametrization=PLAIN)
    asked: list[bool] = []
    forward = template.forward

    def spy() -> torch.Tensor:
        noisy, level = torch.randn(2, 3, 16, 16), torch.tensor([0.3, 0.6])
        denoiser = template.restorer().denoiser(world.samples(1, 2).lr)
        answer = denoiser(noisy, None, level)
        asked.append(torch.equal(answer, template.learner.net(noisy, denoiser.condition, level)))
        out: torch.Tensor = forward()
        return out

    template.forward = spy
    world.learn(template, [1])
    assert asked == [True] * 3


def test_what_inference_needs_beside_a_net_is_counted(world: Any) -> None:
    """Adapters: of mix (4 x 54), shift (4 x 1), out (3 x 4), at rank 2; mixtures of 8 scales."""
    trained = world.train("router:rank=2,train=factors", experiences=3)
    adapter = 2 * (4 + 54) + 2 * (4 + 1) + 2 * (3 + 4)
    held = memory(trained)
    components = [len(held[f"domain-{k}"]["components"]) for k in range(3)]
    gaussians = sum(48 + k * 48 + k + 1 + 2 * 8 for k in components)
    assert trained.strategy.experts(trained.memory).extra_parameters == 2 * adapter + gaussians


def test_with_one_domain_there_is_nothing_to_choose(world: Any) -> None:
    template = world.train("router", experiences=1)
    lr, seeds = world.samples(2, 2).lr, range(2)
    experts = template.strategy.experts(template.memory)
    assert experts.route(to_floats(lr)).tolist() == [0, 0]
    assert experts.weights(0) is None  # the net as it is
    plain = world.restored(template, template.learner.net, lr, seeds)
    assert torch.equal(template.restorer().restore(lr, seeds), plain)


def test_before_any_domain_there_are_no_experts(world: Any) -> None:
    template = world.template("router")
    assert template.strategy.experts(template.memory) is None


def test_a_domain_starts_from_the_last_one_or_from_the_first(world: Any) -> None:
    for start in ("last", "first"):
        template = world.train(f"router:rank=99,start={start}", experiences=2)
        held = memory(template)
        learnt = {
            name: weight.clone() for name, weight in template.learner.net.state_dict().items()
        }
        world.adapt(template, 2)
        now = template.learner.net.state_dict()
        expected = learnt if start == "last" else held["base"]
        assert all(torch.allclose(now[name], expected[name], atol=1e-5) for name in now)
