"""Which layers forget: putting old weights back, against figures worked by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from cl_sr.cli.main import main
from cl_sr.evaluation.layers import KINDS, groups, swaps
from cl_sr.models import SR3UNet


def test_every_weight_is_in_one_group_by_place() -> None:
    net = SR3UNet(inner_channel=8, channel_mults=[1, 2], attn_res=[8], norm_groups=4, image_size=16)
    names = list(net.state_dict())
    found = groups(names)
    by_place = [name for group, members in found.items() if group not in KINDS for name in members]
    assert sorted(by_place) == sorted(names)
    assert {"noise_level_mlp", "downs.0", "mid.0", "ups.0", "final_conv"} < set(found)
    one_dimensional = [name for name, weight in net.state_dict().items() if weight.ndim == 1]
    assert sorted(found["norms and biases"]) == sorted(one_dimensional)


def test_what_swaps_bring_and_cost() -> None:
    old = {"downs.0.weight": torch.zeros(2), "ups.0.weight": torch.zeros(3)}
    new = {"downs.0.weight": torch.ones(2), "ups.0.weight": torch.full((3,), 2.0)}

    def source(state: Mapping[str, Tensor]) -> float:
        return 30 - float(state["downs.0.weight"].sum()) - float(state["ups.0.weight"].sum())

    def target(state: Mapping[str, Tensor]) -> float:
        return 20 + float(state["downs.0.weight"].sum())

    down, up = swaps(old, new, source, target)
    assert (down.layers, down.weights, down.source, down.target) == ("downs.0", 2, 2.0, -2.0)
    assert (up.layers, up.weights, up.source, up.target) == ("ups.0", 3, 6.0, 0.0)


@pytest.mark.run
def test_the_command(tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["run", "--out", "run", *tiny]).exit_code == 0
    result = CliRunner().invoke(main, ["layers", "run", "--images", "2"])
    assert result.exit_code == 0, result.output
    assert "norms and biases" in result.stdout
    assert CliRunner().invoke(main, ["layers", "nowhere"]).exit_code == 2
    assert CliRunner().invoke(main, ["layers", "run", "--images", "0"]).exit_code == 2
    joint = CliRunner().invoke(main, ["run", "--out", "joint", "--strategy", "joint", *tiny])
    assert joint.exit_code == 0, joint.output
    result = CliRunner().invoke(main, ["layers", "joint"])
    assert result.exit_code == 2
    assert "one domain after another" in result.stderr
