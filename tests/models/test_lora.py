"""Low-rank adapters of every kind of layer, against W + s B A by hand."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from cl_sr.models import SR3UNet
from cl_sr.models.lora import (
    LowRank,
    adaptable,
    adapted,
    attach,
    extract,
    factors,
    merge,
    merged,
    plain_state,
    save_peft,
)

RANK = 2


class Layers(nn.Module):
    """Every kind of layer that can have an adapter, and one that cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 5, 3, padding=1)
        self.norm = nn.GroupNorm(1, 5)
        self.strided = nn.Conv2d(5, 4, 3, stride=2, padding=1)
        self.one = nn.Conv2d(4, 6, 1, bias=False)
        self.line = nn.Linear(6, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(self.strided(self.norm(self.wide(x))))
        out: Tensor = self.line(x.mean(dim=(2, 3)))
        return out


LAYERS = ("wide", "strided", "one", "line")


@pytest.fixture
def net() -> Layers:
    torch.manual_seed(0)
    return Layers()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def train(net: nn.Module) -> None:
    """As training would, so that B is no longer zero."""
    generator = torch.Generator().manual_seed(2)
    for weight in net.parameters():
        if weight.requires_grad:
            weight.data = torch.randn(weight.shape, generator=generator)


def test_convolutions_and_linear_layers_can_be_adapted(net: Layers) -> None:
    assert tuple(adaptable(net)) == LAYERS
    assert tuple(adaptable(net, "^(one|strided)$")) == ("strided", "one")
    assert adaptable(net, "norm") == {}


def test_at_first_nothing_changes_and_only_factors_are_trained(net: Layers, x: Tensor) -> None:
    before = net(x).detach()
    attach(net, RANK)
    assert torch.equal(net(x), before)
    trained = {name for name, weight in net.named_parameters() if weight.requires_grad}
    assert trained == {f"{k}.parametrizations.weight.0.{f}" for k in LAYERS for f in "AB"}


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_a_layer_is_the_sum_of_two(net: Layers, x: Tensor, scale: float) -> None:
    """For a convolution: A as one to `rank` channels of the same kernel and stride, B one of 1x1.

    So what the layer adds is what peft's adapter adds.
    """
    weights = {name: getattr(net, name).weight.detach().clone() for name in LAYERS}
    attach(net, RANK, scale=scale)
    train(net)
    found = factors(net)
    assert len(found) == 8
    with torch.no_grad():
        for name in ("wide", "strided", "one"):
            layer, inputs = getattr(net, name), torch.randn(2, weights[name].shape[1], 8, 8)
            a = found[f"{name}.A"].view(RANK, *weights[name].shape[1:])
            b = found[f"{name}.B"][:, :, None, None]
            how = {"stride": layer.stride, "padding": layer.padding}
            plain = F.conv2d(inputs, weights[name], layer.bias, **how)
            expected = plain + scale * F.conv2d(F.conv2d(inputs, a, **how), b)
            assert torch.allclose(layer(inputs), expected, rtol=1e-4, atol=1e-3), name
        vectors = torch.randn(4, 6)
        added = vectors @ found["line.A"].T @ found["line.B"].T
        expected = F.linear(vectors, weights["line"], net.line.bias) + scale * added
        assert torch.allclose(net.line(vectors), expected, rtol=1e-4, atol=1e-4)


def test_a_factor_begins_as_peft_and_loralib_begin_it() -> None:
    """Uniform within 1 / sqrt(columns), with a variance of a third of its square; B at zero."""
    torch.manual_seed(0)
    adapter = LowRank(torch.zeros(8, 50, 3, 3), rank=64)
    bound = 1 / math.sqrt(450)
    assert (adapter.A.shape, adapter.B.shape) == ((64, 450), (8, 64))
    assert adapter.A.abs().max() <= bound
    assert adapter.A.abs().max() > 0.99 * bound
    assert float(adapter.A.detach().var()) == pytest.approx(bound**2 / 3, rel=0.03)
    assert not adapter.B.any()


def test_merging_leaves_a_plain_net_that_answers_alike(net: Layers, x: Tensor) -> None:
    plain = {name: weight.clone() for name, weight in net.state_dict().items()}
    attach(net, RANK)
    train(net)
    answer, found = net(x).detach(), factors(net)
    expected = merged(plain, found)
    assert adapted(net)
    merge(net)
    assert not adapted(net)
    assert net.state_dict().keys() == plain.keys()
    assert all(torch.equal(net.state_dict()[name], expected[name]) for name in plain)
    assert torch.allclose(net(x), answer, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_merged_by_hand(scale: float) -> None:
    weights = {"f.weight": torch.ones(2, 2), "f.bias": torch.zeros(2), "g.weight": torch.ones(1, 1)}
    adapter = {"f.A": torch.tensor([[1.0, 2.0]]), "f.B": torch.tensor([[3.0], [4.0]])}
    found = merged(weights, adapter, scale)
    expected = [[1 + 3 * scale, 1 + 6 * scale], [1 + 4 * scale, 1 + 8 * scale]]
    assert found["f.weight"].tolist() == expected
    assert found["f.bias"] is weights["f.bias"]
    assert weights["f.weight"].tolist() == [[1, 1], [1, 1]]  # as it was
    assert merged(weights, {}) == weights


@pytest.mark.parametrize("rank", [1, 2, 3, 50])
def test_the_adapter_of_a_change_is_the_best_of_its_rank(net: Layers, rank: int) -> None:
    """What it misses are the smallest singular values (Eckart and Young)."""
    old = {name: weight.clone() for name, weight in net.state_dict().items()}
    torch.manual_seed(3)
    new = {name: weight + torch.randn(weight.shape) for name, weight in old.items()}
    adapter = extract(old, new, rank)
    assert {name[:-2] for name in adapter if name[-1] in "AB"} == set(LAYERS)
    found = merged(old, adapter)
    for name in ("wide.bias", "norm.weight", "norm.bias", "strided.bias", "line.bias"):
        assert torch.allclose(found[name], new[name])
    for name in LAYERS:
        change = (new[f"{name}.weight"] - old[f"{name}.weight"]).flatten(1).double()
        strength = torch.linalg.eigvalsh(change @ change.T).clamp(min=0).flip(0)
        missed = (found[f"{name}.weight"] - new[f"{name}.weight"]).double().square().sum()
        assert float(missed) == pytest.approx(float(strength[rank:].sum()), rel=1e-3, abs=1e-6)
    places = {name.rpartition(".")[0] for name in extract(old, new, rank, "^w|line")}
    assert places == {"wide", "wide.bias", "line", "line.bias"}


def test_the_plain_state_has_plain_names_and_adapted_weights(net: Layers) -> None:
    plain = {name: weight.clone() for name, weight in net.state_dict().items()}
    before = plain_state(net, plain)
    assert all(torch.equal(before[name], plain[name]) for name in plain)
    attach(net, RANK)
    train(net)
    found, expected = plain_state(net, plain), merged(plain, factors(net))
    assert found.keys() == plain.keys()
    for name in plain:
        assert torch.allclose(found[name], expected[name], atol=1e-5)
        assert not found[name].requires_grad


def test_factors_are_copies(net: Layers) -> None:
    attach(net, RANK, where="one")
    found = factors(net)
    assert set(found) == {"one.A", "one.B"}
    train(net)
    assert not found["one.B"].any()
    assert not any(factor.requires_grad for factor in found.values())


def test_a_copy_of_an_adapted_net_lives_its_own_life(net: Layers, x: Tensor) -> None:
    attach(net, RANK)
    train(net)
    other = copy.deepcopy(net)
    answer = net(x).detach()
    assert torch.equal(other(x), answer)
    for name, factor in factors(other).items():
        assert torch.equal(factor, factors(net)[name])
    with torch.no_grad():
        for weight in other.parameters():
            weight.zero_()
    assert torch.equal(net(x), answer)
    merge(other)
    assert adapted(net)
    assert not adapted(other)


def test_gradients_reach_the_factors_alone(net: Layers, x: Tensor) -> None:
    attach(net, RANK)
    net(x).square().sum().backward()
    for name, weight in net.named_parameters():
        assert (weight.grad is not None) == name.endswith((".0.A", ".0.B"))


def test_what_is_written_has_pefts_names_and_shapes(net: Layers, tmp_path: Path) -> None:
    plain = net.state_dict()
    kernels = {name: weight.clone() for name, weight in plain.items()}
    attach(net, RANK)
    train(net)
    adapter = factors(net)
    save_peft(tmp_path / "new" / "adapter", adapter, kernels, scale=1.5)
    shapes = {
        "wide": ((2, 3, 3, 3), (5, 2, 1, 1)),
        "strided": ((2, 5, 3, 3), (4, 2, 1, 1)),
        "one": ((2, 4, 1, 1), (6, 2, 1, 1)),
        "line": ((2, 6), (7, 2)),
    }
    with safe_open(tmp_path / "new" / "adapter" / "adapter_model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert set(file.keys()) == {
            f"base_model.model.{name}.lora_{kind}.weight" for name in LAYERS for kind in "AB"
        }
        for name, (a, b) in shapes.items():
            for kind, shape in (("A", a), ("B", b)):
                written = file.get_tensor(f"base_model.model.{name}.lora_{kind}.weight")
                assert tuple(written.shape) == shape
                assert torch.equal(written.flatten(), adapter[f"{name}.{kind}"].flatten())
    config = json.loads((tmp_path / "new" / "adapter" / "adapter_config.json").read_text("utf-8"))
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 2, 3.0)
    assert config["lora_alpha"] / config["r"] == 1.5  # the scale, as peft reckons it
    assert sorted(config["target_modules"]) == sorted(LAYERS)
    assert (config["bias"], config["lora_dropout"]) == ("none", 0)


def test_peft_adds_the_same(net: Layers, x: Tensor, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    fresh = copy.deepcopy(net)
    kernels = {name: weight.clone() for name, weight in net.state_dict().items()}
    attach(net, RANK, scale=1.5)
    train(net)
    save_peft(tmp_path, factors(net), kernels, scale=1.5)
    wrapped = peft.PeftModel.from_pretrained(fresh, tmp_path).eval()
    with torch.no_grad():
        assert torch.allclose(wrapped(x), net(x), rtol=1e-4, atol=1e-3)


def test_peft_adds_the_same_where_layers_are_narrower_than_the_rank(
    net: Layers, x: Tensor, tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft")
    old = {name: weight.clone() for name, weight in net.state_dict().items()}
    new = {name: weight + 0.1 * torch.randn(weight.shape) for name, weight in old.items()}
    adapter = extract(old, new, rank=5)
    assert adapter["strided.A"].shape == (4, 45)
    # With a scale, of which each of the two factors has its root.
    half = {
        name: part / (1.5 if name.endswith(".D") else math.sqrt(1.5))
        for name, part in adapter.items()
    }
    save_peft(tmp_path, half, old, scale=1.5)
    wrapped = peft.PeftModel.from_pretrained(copy.deepcopy(net), tmp_path).eval()
    net.load_state_dict(merged(old, adapter))
    with torch.no_grad():
        assert torch.allclose(wrapped(x), net(x), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("where", ["", "attn", "qkv", "ups"])
def test_peft_merges_what_was_cut_from_weights(where: str, tmp_path: Path) -> None:
    """Into a net whose attention has layers without a bias; one adapter, and one of two."""
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    net = SR3UNet(6, norm_groups=4, inner_channel=8, channel_mults=(1, 2), res_blocks=1,
                  attn_res=(8,), image_size=16)  # fmt: skip
    old = {name: weight.clone() for name, weight in net.state_dict().items()}
    for number in (1, 2):
        new = {
            name: weight + number * 0.1 * torch.randn_like(weight) for name, weight in old.items()
        }
        adapter = extract(old, new, RANK, where)
        expected = merged(old, adapter)
        save_peft(tmp_path / str(number), adapter, old)
    alone = peft.PeftModel.from_pretrained(copy.deepcopy(net), tmp_path / "2")
    several = peft.PeftModel.from_pretrained(copy.deepcopy(net), tmp_path / "1")
    several.load_adapter(tmp_path / "2", "second")
    several.set_adapter("second")
    for wrapped in (alone, several):
        found = wrapped.merge_and_unload().state_dict()
        assert found.keys() == expected.keys()
        for name, weight in expected.items():
            assert torch.allclose(found[name], weight, rtol=1e-5, atol=1e-6), name
    assert any(not torch.equal(expected[name], old[name]) for name in old if "qkv" in name or where)
