"""The router: which domain an image looks like, and whose weights restore it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl_sr.data.pairs import pack, unpack
from cl_sr.data.resize import downsample

OWN = "0-router"


@pytest.fixture(scope="module", params=["factors", "weights"])
def trained(world: Any, request: pytest.FixtureRequest) -> Any:
    return world.train(f"router:rank=2,train={request.param}", experiences=3)


def low(world: Any, domain: int, count: int = 4) -> torch.Tensor:
    return downsample(world.images[domain][:count], 4).float() / 127.5 - 1


def memory(template: Any) -> dict[str, Any]:
    own: dict[str, Any] = template.memory[OWN]
    return own


def test_domains_that_look_different_are_told_apart(world: Any, trained: Any) -> None:
    (strategy,) = trained.strategy.parts
    for domain in range(3):
        test = [world.benchmark.test_stream[domain].dataset[k][0] for k in range(3)]
        lr = downsample(torch.stack(test)[:, 3:], 4).float() / 127.5 - 1
        assert strategy.choose(memory(trained), lr).tolist() == [domain] * 3


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
        monkeypatch.setattr(template, "low_resolution_images", lambda _: images)
        template.device, template.adapted_dataset = torch.device("cuda"), images
        strategy.begin(template, held)
        held["domain-1"] = held["domain-0"]
        chosen = strategy.choose(held, torch.zeros(2, 3, 4, 4, device="cuda"))
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
    assert torch.equal(strategy.choose(held, large), strategy.choose(held, small))


def test_each_row_is_answered_by_its_own_expert(world: Any, trained: Any) -> None:
    (strategy,) = trained.strategy.parts
    held = memory(trained)
    lr = torch.cat([low(world, d, 1) for d in (2, 0, 1, 0)])
    generator = torch.Generator().manual_seed(1)
    noisy, condition = torch.randn(2, 4, 3, 16, 16, generator=generator)
    level = torch.linspace(0.1, 0.9, 4)
    answer = strategy.denoiser(trained, held, lr)(noisy, condition, level)
    base, answers = held["base"], []
    for domain in range(3):
        net = world.template().net
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
    condition, _ = unpack(pack(world.images[0][:3], 4, "bicubic"))
    arguments = (condition, low(world, 0, 3), range(3))
    before = template.strategy.restore(template, template.memory, *arguments).detach()
    world.learn(template, [1, 2])
    after = template.strategy.restore(template, template.memory, *arguments).detach()
    forgotten = template.sample(condition, range(3)).detach()
    assert torch.equal(before, after)
    assert not torch.allclose(before, forgotten, atol=1e-3)


def test_the_domain_that_is_being_learnt_has_the_net_as_it_is(world: Any) -> None:
    template = world.train("router:rank=2", experiences=1)
    asked: list[bool] = []
    forward = template.forward

    def spy() -> torch.Tensor:
        lr = low(world, 1, 2)
        x = torch.randn(2, 3, 16, 16), torch.randn(2, 3, 16, 16), torch.tensor([0.3, 0.6])
        net = template.strategy.denoiser(template, template.memory, lr)
        asked.append(torch.equal(net(*x), template.net(*x)))
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
    assert trained.strategy.extra_parameters(trained.memory) == 2 * adapter + gaussians


def test_with_one_domain_there_is_nothing_to_choose(world: Any) -> None:
    template = world.train("router", experiences=1)
    lr = low(world, 2, 2)
    assert template.strategy.denoiser(template, template.memory, lr) is template.inference_net


def test_a_domain_starts_from_the_last_one_or_from_the_first(world: Any) -> None:
    for start in ("last", "first"):
        template = world.train(f"router:rank=99,start={start}", experiences=2)
        held = memory(template)
        learnt = {name: weight.clone() for name, weight in template.net.state_dict().items()}
        template.learning = template.experience = world.benchmark.train_stream[2]
        template.strategy.adapt(template, template.memory)
        now = template.net.state_dict()
        expected = learnt if start == "last" else held["base"]
        assert all(torch.allclose(now[name], expected[name], atol=1e-5) for name in now)
