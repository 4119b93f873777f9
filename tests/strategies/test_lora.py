"""Adapters in a run: what is trained, what stays, what is kept and what is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cl_sr.errors import InputError
from cl_sr.models.lora import adapted, factors
from cl_sr.strategies.lora import Lora

OWN = "0-lora"


def state(template: Any) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in template.learner.net.state_dict().items()}


def inputs(rows: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    noisy, condition = torch.randn(2, rows, 3, 16, 16, generator=generator)
    return noisy, condition, torch.linspace(0.2, 0.9, rows)


def test_at_first_an_adapter_changes_nothing(world: Any, unet: Any) -> None:
    template = world.train("lora:rank=2", experiences=1, net=unet())
    x = inputs()
    with torch.no_grad():
        before = template.learner.net(*x)
        world.adapt(template, 1)
        assert adapted(template.learner.net)
        assert torch.equal(template.learner.net(*x), before)


def test_only_adapters_are_trained_and_the_weights_below_them_never_move(
    world: Any, unet: Any
) -> None:
    template = world.train("lora:rank=2", experiences=1, net=unet(), ema=0.5)
    base = state(template)
    trained: list[str] = []
    train = template._train_exp

    def spy(*args: Any, **kwargs: Any) -> None:
        named = {id(p): name for name, p in template.learner.net.named_parameters()}
        (group,) = template.optimizer.param_groups
        trained.extend(named[id(p)] for p in group["params"])
        train(*args, **kwargs)
        for name, weight in template.learner.net.state_dict().items():
            plain = name.replace("parametrizations.weight.original", "weight")
            if plain in base:
                assert torch.equal(weight, base[plain]), name

    template._train_exp = spy
    world.learn(template, [1])
    assert trained
    assert all(name.endswith(("parametrizations.weight.0.A", ".0.B")) for name in trained)
    assert len(trained) == 2 * sum(w.ndim > 1 for w in base.values())  # of every layer
    assert all(torch.equal(template.memory[OWN]["base"][name], base[name]) for name in base)


def test_after_it_the_net_is_plain_and_its_weights_are_w_plus_b_a(world: Any, unet: Any) -> None:
    template = world.train("lora:rank=3", experiences=1, net=unet())
    base = state(template)
    world.learn(template, [1])
    after, adapter = state(template), template.memory[OWN]["adapter-1"]
    assert after.keys() == base.keys()
    assert not adapted(template.learner.net)
    assert all(weight.requires_grad for weight in template.learner.net.parameters())
    for name, weight in base.items():
        layer = name.removesuffix(".weight")
        if f"{layer}.A" not in adapter or name == layer:
            assert torch.equal(after[name], weight), name  # biases and norms
            continue
        a, b = adapter[f"{layer}.A"].double(), adapter[f"{layer}.B"].double()
        assert (len(a), b.shape[1]) == (3, 3)
        rows = torch.stack([weight[k].double().flatten() + b[k] @ a for k in range(len(weight))])
        assert torch.allclose(after[name].double(), rows.view(weight.shape), atol=1e-6)
        assert not torch.equal(after[name], weight)


def test_merged_weights_answer_as_the_adapted_net_did(world: Any, unet: Any) -> None:
    template = world.train("lora:rank=2", experiences=1, net=unet())
    x, answers = inputs(), list[torch.Tensor]()
    learner = template.learner

    def ask() -> None:
        with torch.no_grad():
            assert adapted(learner.net)
            answers.append(learner.net(*x))
            answers.append(learner.net_of(learner.state())(*x))

    with world.around(template, "settle", before=ask):
        world.learn(template, [1])
    with torch.no_grad():
        merged = template.learner.net(*x)
    for answer in answers:
        assert torch.allclose(answer, merged, atol=1e-5)


def test_the_adapter_of_the_third_domain_starts_from_the_first_weights(world: Any) -> None:
    template = world.train("lora:rank=2", experiences=2)
    after_two, first = state(template), template.memory[OWN]["base"]
    started: list[dict[str, torch.Tensor]] = []
    with world.around(template, "begin", before=lambda: started.append(template.learner.state())):
        world.learn(template, [2])
    assert all(torch.equal(started[0][name], first[name]) for name in first)
    assert any(not torch.equal(after_two[name], first[name]) for name in first)
    assert set(template.memory[OWN]) == {"base", "adapter-1", "adapter-2"}
    assert all(torch.equal(template.memory[OWN]["base"][name], first[name]) for name in first)


def test_where_names_the_layers(world: Any, unet: Any) -> None:
    template = world.train("lora:rank=2,where=^ups.*res_conv", net=unet())
    layers = {name[:-2] for name in template.memory[OWN]["adapter-1"]}
    plain = dict(unet().named_modules())
    expected = {
        name
        for name, module in plain.items()
        if name.startswith("ups") and name.endswith("res_conv") and hasattr(module, "weight")
    }
    assert layers == expected
    assert len(expected) > 1


def test_a_place_that_names_no_layer_is_refused() -> None:
    shapes = {"ups.0.weight": (4, 4, 3, 3), "ups.0.bias": (4,), "norm.weight": (4,)}
    Lora(where="ups").check(100, shapes)
    with pytest.raises(InputError, match="where=bias names no layer"):
        Lora(where="bias").check(100, shapes)
    # A norm has no factors, but its weights can be trained and kept.
    with pytest.raises(InputError, match="where=norm names no layer"):
        Lora(where="norm").check(100, shapes)
    Lora(where="norm", train="weights").check(100, shapes)


def test_the_rate_is_multiplied_from_the_second_domain_on(world: Any) -> None:
    rates = world.rates("lora:lr=3", lr=0.01)
    assert rates == pytest.approx([0.01] * 3 + [0.03] * 3)


def test_what_is_written_are_the_factors(world: Any, unet: Any, tmp_path: Path) -> None:
    template = world.train("lora:rank=2", experiences=1, net=unet())
    template.strategy.export(template.learner, template.memory, tmp_path)
    assert list(tmp_path.iterdir()) == []  # the first domain has no adapter
    world.learn(template, [1])
    template.strategy.export(template.learner, template.memory, tmp_path)
    written = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    adapter = template.memory[OWN]["adapter-1"]
    assert len(written) == len(adapter)
    for name, factor in adapter.items():
        layer, kind = name.rsplit(".", 1)
        found = written[f"base_model.model.{layer}.lora_{kind}.weight"]
        assert torch.equal(found.flatten(1), factor)


def test_peft_reads_what_is_written(world: Any, unet: Any, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    template = world.train("lora:rank=2", experiences=1, net=unet())
    base = state(template)
    world.learn(template, [1])
    template.strategy.export(template.learner, template.memory, tmp_path)
    folder = tmp_path / "adapter"
    config = peft.PeftConfig.from_pretrained(folder)
    assert type(config) is peft.LoraConfig
    fresh = unet()
    fresh.load_state_dict(base)
    x = inputs()
    with torch.no_grad():
        plain = fresh.eval()(*x)
    net = peft.inject_adapter_in_model(config, fresh)
    saved = load_file(folder / "adapter_model.safetensors")
    # As `PeftModel` wraps it, and as the keys have it.
    tensors = {name.removeprefix("base_model.model."): t for name, t in saved.items()}
    result = peft.set_peft_model_state_dict(net, tensors)
    assert result.unexpected_keys == []
    assert not [name for name in result.missing_keys if "lora_" in name]
    with torch.no_grad():
        found, expected = net.eval()(*x), template.learner.net.eval()(*x)
    assert torch.allclose(found, expected, atol=1e-5)
    assert not torch.allclose(found, plain, atol=1e-3)
    assert json.loads((folder / "adapter_config.json").read_text())["r"] == 2


@pytest.mark.parametrize(
    "options",
    [
        "rank=2",
        "rank=2,where=ups",
        "rank=2,train=weights",
        "rank=6,train=weights",
    ],
)
def test_peft_wraps_a_net_with_what_is_written(
    world: Any, unet: Any, tmp_path: Path, options: str
) -> None:
    peft = pytest.importorskip("peft")
    template = world.train(f"lora:{options}", experiences=1, net=unet())
    fresh = unet()
    fresh.load_state_dict(state(template))
    world.learn(template, [1])
    template.strategy.export(template.learner, template.memory, tmp_path)
    wrapped = peft.PeftModel.from_pretrained(fresh, tmp_path / "adapter").eval()
    x = inputs()
    with torch.no_grad():
        assert torch.allclose(wrapped(*x), template.learner.net.eval()(*x), atol=1e-5)


def test_weights_that_were_trained_are_cut_down_to_an_adapter(world: Any, unet: Any) -> None:
    """Their change, by NumPy's singular value decomposition; all of that of biases and norms."""
    template = world.train("lora:rank=2,train=weights", experiences=1, net=unet())
    base, trained = state(template), dict[str, torch.Tensor]()
    with world.around(template, "settle", before=lambda: trained.update(state(template))):
        world.learn(template, [1])
    for name, weight in template.learner.net.state_dict().items():
        if weight.ndim < 2:
            assert not torch.equal(trained[name], base[name])
            assert torch.allclose(weight, trained[name], atol=1e-6)
            continue
        change = (trained[name] - base[name]).flatten(1).double().numpy()
        assert abs(change).max() > 0
        left, strength, right = np.linalg.svd(change, full_matrices=False)
        best = torch.from_numpy((left[:, :2] * strength[:2]) @ right[:2]).view(weight.shape)
        assert torch.allclose(weight.double(), base[name].double() + best, atol=1e-5), name


def test_at_full_rank_trained_weights_are_those_of_fine_tuning(world: Any) -> None:
    whole, plain = world.train("lora:rank=99,train=weights"), world.train("finetune")
    assert torch.allclose(whole.learner.weights(), plain.learner.weights(), atol=1e-5)


@pytest.mark.parametrize(("train", "rate"), [("factors", 0.03), ("weights", 0.01)])
def test_the_rate_is_that_of_what_is_trained(world: Any, train: Any, rate: float) -> None:
    template = world.template(Lora(lr=3, train=train), lr=0.01)
    world.adapt(template, 0)
    assert template.learner.lr == 0.01
    world.adapt(template, 1)
    assert template.learner.lr == pytest.approx(rate)


@pytest.mark.parametrize("train", ["factors", "weights"])
def test_every_layer_that_is_written_has_the_rank_of_the_configuration(
    world: Any, unet: Any, tmp_path: Path, train: str
) -> None:
    """The last convolution has three channels: no more singular values than that."""
    template = world.train(f"lora:rank=6,train={train}", net=unet())
    template.strategy.export(template.learner, template.memory, tmp_path)
    written = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    pattern = config["rank_pattern"]
    assert bool(pattern) == (train == "weights")
    for name in (name for name in written if name.endswith((".lora_A.weight", ".lora_B.weight"))):
        factor, layer = written[name], name.removeprefix("base_model.model.").rsplit(".", 2)[0]
        rank = factor.shape[0] if ".lora_A." in name else factor.shape[1]
        assert rank == pattern.get(layer, config["r"]), layer


def test_factors_of_a_net_without_adapters_are_none(unet: Any) -> None:
    assert factors(unet()) == {}


@pytest.mark.parametrize("options", [{"rank": 0}, {"lr": 0.0}, {"where": "("}])
def test_what_cannot_work_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="strategy lora"):
        Lora(**options).check(100)
