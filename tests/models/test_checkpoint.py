import json
from pathlib import Path
from typing import Any

import pytest
import torch

from cl_sr.diffusion import NoiseSchedule, Parametrization
from cl_sr.errors import InputError
from cl_sr.models import Model, SR3UNet, load_sr3, read_model, save_model
from cl_sr.models.description import read_description


@pytest.fixture
def net() -> SR3UNet:
    torch.manual_seed(0)
    return SR3UNet(inner_channel=8, norm_groups=4, channel_mults=(1, 2), attn_res=(), image_size=16)


def model(net: SR3UNet, parametrization: Parametrization | None = None) -> Model:
    return Model(net, NoiseSchedule.linear(40), parametrization or Parametrization(), scale=4)


def test_what_is_saved_is_loaded(tmp_path: Path, net: SR3UNet) -> None:
    saved = model(net, Parametrization("v", "residual"))
    save_model(tmp_path / "weights", saved)
    for path in (tmp_path / "weights", tmp_path / "weights" / "model.safetensors"):
        loaded = load_sr3(path)
        assert loaded.config == net.config
        x, level = torch.randn(1, 3, 16, 16), torch.tensor([0.5])
        assert torch.equal(loaded(x, x, level), net(x, x, level))
        whole = read_model(path)
        assert whole.parametrization == saved.parametrization
        assert torch.equal(whole.schedule.gammas, saved.schedule.gammas)
        assert (whole.scale, whole.conditional, whole.family) == (4, True, "sr3")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["weights"]


def test_it_tells_what_it_is_without_its_weights(tmp_path: Path, net: SR3UNet) -> None:
    save_model(tmp_path / "w", model(net), degradation="area", domains=["celeba"], iterations=9)
    about = read_description(tmp_path / "w")
    assert (about.family, about.scale, about.steps, about.image_size) == ("sr3", 4, 40, 16)
    assert (about.degradation, about.domains, about.iterations) == ("area", ["celeba"], 9)
    assert about.architecture == net.config


def test_saving_again_replaces(tmp_path: Path, net: SR3UNet) -> None:
    save_model(tmp_path / "w", model(net))
    with torch.no_grad():
        net.final_conv.block[3].bias.fill_(7)
    save_model(tmp_path / "w", model(net))
    assert float(load_sr3(tmp_path / "w").state_dict()["final_conv.block.3.bias"][0]) == 7
    assert sorted(p.name for p in tmp_path.iterdir()) == ["w"]


def test_overrides_reach_the_net(tmp_path: Path, net: SR3UNet) -> None:
    save_model(tmp_path / "w", model(net))
    loaded = load_sr3(tmp_path / "w", image_size=32, dropout=0.3)
    assert loaded.config["image_size"] == 32
    assert loaded.config["dropout"] == 0.3


def test_attention_keeps_its_depth_at_another_size(tmp_path: Path) -> None:
    small: dict[str, Any] = {"inner_channel": 8, "norm_groups": 4, "channel_mults": (1, 2)}
    net = SR3UNet(**small, attn_res=(8,), image_size=[16, 24])
    save_model(tmp_path / "w", model(net))
    assert read_description(tmp_path / "w").image_size == (16, 24)
    assert load_sr3(tmp_path / "w").config["image_size"] == [16, 24]
    for size, attention in (((48, 32), 16), (64, 32)):
        loaded = load_sr3(tmp_path / "w", image_size=size)
        assert loaded.config["attn_res"] == [attention]
        assert list(loaded.state_dict()) == list(net.state_dict())


def test_a_place_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights here"):
        load_sr3(tmp_path)


def test_weights_of_another_shape_are_named(tmp_path: Path, net: SR3UNet) -> None:
    save_model(tmp_path / "w", model(net))
    with pytest.raises(InputError, match=r"does not fit.*misshapen.*downs\.0\.weight"):
        load_sr3(tmp_path / "w", inner_channel=16)


def test_a_damaged_file_is_refused(tmp_path: Path, net: SR3UNet) -> None:
    save_model(tmp_path / "w", model(net))
    weights = tmp_path / "w" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="damaged, cut short"):
        load_sr3(tmp_path / "w")
    (tmp_path / "w" / "config.json").write_text(json.dumps({"unet": {"colour": 1}}))
    with pytest.raises(InputError, match="not a cl-sr checkpoint"):
        load_sr3(tmp_path / "w")


def as_of_old(folder: Path) -> None:
    """As versions until November 2026 wrote it, without the schedule in those before June."""
    about = json.loads((folder / "config.json").read_text())
    old = {
        "kind": "cl-sr SR3UNet",
        "unet": about["architecture"],
        "diffusion": about["diffusion"],
        "scale": about["scale"],
    }
    (folder / "config.json").write_text(json.dumps(old))


def test_checkpoints_of_old_are_read(tmp_path: Path, net: SR3UNet) -> None:
    save_model(tmp_path / "w", model(net, Parametrization("x0")))
    as_of_old(tmp_path / "w")
    found = read_model(tmp_path / "w")
    assert (found.parametrization, found.scale) == (Parametrization("x0"), 4)
    assert found.schedule.steps == 40
    assert torch.equal(found.net.downs[0].weight, net.downs[0].weight)  # type: ignore[union-attr, arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "another"}, "another's"),
        ({"family": 3}, "no family"),
        ({"architecture": []}, "no architecture"),
        ({"colour": 1}, "not a cl-sr checkpoint"),
        ({"family": "./mine.py"}, "no absolute path"),
        ({"family": "sr4"}, "unknown family 'sr4'"),
        ({"diffusion": {"prediction": "all"}}, "not a cl-sr checkpoint"),
    ],
)
def test_a_description_that_is_none(
    tmp_path: Path, net: SR3UNet, change: dict[str, object], message: str
) -> None:
    save_model(tmp_path / "w", model(net))
    file = tmp_path / "w" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(InputError, match=message):
        read_model(tmp_path / "w")
