"""What the README shows in Python runs, with smaller numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY
from PIL import Image
from running import run

import cl_sr
from cl_sr.config import split_override

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def block(mark: str) -> str:
    (found,) = [code for code in PYTHON if mark in code]
    return found


@pytest.mark.run
def test_training_in_ones_own_avalanche_code() -> None:
    code = block("DiffusionTemplate(")
    for old, new in (("scale=4)", "scale=4, standin_images=24)"), ("[200, 100]", "[2, 1]")):
        assert old in code
        code = code.replace(old, new)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["images"].shape == (1, 3, 32, 32)
    assert names["template"].clock.train_iterations == 3


@pytest.mark.run
def test_the_front_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, real = block("cl_sr.load("), cl_sr.run
    smaller = dict(map(split_override, [*TINY, "strategy.router.rank=2", "diffusion.steps=20"]))
    monkeypatch.setattr(cl_sr, "run", lambda *args, **keys: real(*args, **keys, **smaller))
    names: dict[str, Any] = {"lr": torch.rand(2, 3, 4, 4), "picture": Image.new("RGB", (7, 5))}
    exec(code, names)
    assert names["large"].size == (28, 20)
    assert names["run"].path == Path("runs/faces")
    assert names["run"].record.settings["seed"] == 1
    assert names["restore"].strategy == "router:rank=2"
    assert names["images"].shape == (2, 3, 16, 16)


@pytest.mark.run
def test_the_parts_and_the_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(tmp_path / "runs" / "faces", [*TINY, "train.iterations=[1, 0]"])
    names: dict[str, Any] = {}
    exec(block("load_sr3(") + block("celeba-cats"), names)
    assert names["stream"].domain_names == ("celeba", "cats")
    assert not names["net"].training
