import json
from pathlib import Path

import pytest
import torch

from cl_sr.diffusion import Parametrization
from cl_sr.errors import InputError
from cl_sr.models import SR3UNet, load_sr3, save_sr3


@pytest.fixture
def net() -> SR3UNet:
    torch.manual_seed(0)
    return SR3UNet(inner_channel=8, norm_groups=4, channel_mults=(1, 2), attn_res=(), image_size=16)


def test_what_is_saved_is_loaded(tmp_path: Path, net: SR3UNet) -> None:
    save_sr3(tmp_path / "weights", net, Parametrization("v", "residual"))
    for path in (tmp_path / "weights", tmp_path / "weights" / "model.safetensors"):
        loaded = load_sr3(path)
        assert loaded.config == net.config
        x, level = torch.randn(1, 3, 16, 16), torch.tensor([0.5])
        assert torch.equal(loaded(x, x, level), net(x, x, level))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["weights"]


def test_saving_again_replaces(tmp_path: Path, net: SR3UNet) -> None:
    save_sr3(tmp_path / "w", net, Parametrization())
    with torch.no_grad():
        net.final_conv.block[3].bias.fill_(7)
    save_sr3(tmp_path / "w", net, Parametrization())
    assert float(load_sr3(tmp_path / "w").state_dict()["final_conv.block.3.bias"][0]) == 7
    assert sorted(p.name for p in tmp_path.iterdir()) == ["w"]


def test_overrides_reach_the_net(tmp_path: Path, net: SR3UNet) -> None:
    save_sr3(tmp_path / "w", net, Parametrization())
    loaded = load_sr3(tmp_path / "w", image_size=32, dropout=0.3)
    assert loaded.config["image_size"] == 32
    assert loaded.config["dropout"] == 0.3


def test_a_place_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights here"):
        load_sr3(tmp_path)


def test_weights_of_another_shape_are_named(tmp_path: Path, net: SR3UNet) -> None:
    save_sr3(tmp_path / "w", net, Parametrization())
    with pytest.raises(InputError, match=r"does not fit.*misshapen.*downs\.0\.weight"):
        load_sr3(tmp_path / "w", inner_channel=16)


def test_a_damaged_file_is_refused(tmp_path: Path, net: SR3UNet) -> None:
    save_sr3(tmp_path / "w", net, Parametrization())
    weights = tmp_path / "w" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="damaged, cut short"):
        load_sr3(tmp_path / "w")
    (tmp_path / "w" / "config.json").write_text(json.dumps({"unet": {"colour": 1}}))
    with pytest.raises(InputError, match="not a cl-sr checkpoint"):
        load_sr3(tmp_path / "w")
