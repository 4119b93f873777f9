"""What the members of a sweep share: the training on the first domain."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cl_sr.config import resolve
from cl_sr.strategies import Choice
from cl_sr.sweeps import Sweep, read_sweep
from cl_sr.sweeps.sources import after_source, source

Write = Callable[..., str]


def members(write: Write, **grid: Any) -> Sweep:
    return read_sweep(write(preset="tiny", grid=grid))


def test_strategies_that_start_alike_share_the_first_domain(write: Write) -> None:
    sweep = members(write, strategy=["finetune", "router", "replay:size=4+wise-ft", "lora", "ewc"])
    found = [source(member.config) for member in sweep.members]
    (name,) = {shared[0] for shared in found if shared}
    assert None not in found
    assert name.startswith("celeba-seed0-")
    assert found[0]
    config = found[0][1]
    assert config.strategy == (Choice("finetune"),)
    assert config.train.iterations == (1500, 0)
    assert config.eval.images == 0


@pytest.mark.parametrize("strategy", ["joint", "si", "ddnm", "from-scratch", "finetune+si"])
def test_strategies_that_act_on_the_first_domain_train_it_themselves(
    write: Write, strategy: str
) -> None:
    (member,) = members(write, strategy=[strategy]).members
    assert source(member.config) is None


@pytest.mark.parametrize(
    ("key", "values", "count"),
    [
        ("seed", [0, 1], 2),
        ("train.lr", [1e-3, 1e-4], 2),
        ("data.split", ["content", "random"], 2),
        ("train.iterations", [[10, 5], [20, 5]], 2),
        ("train.iterations", [[10, 5], [10, 8], [10]], 1),
        ("train.iterations", [[0, 5]], 0),
        ("data.shares", [{"animef": 0.1}, {"animef": 0.5}], 1),
        ("data.shares", [{"celeba": 0.1}, {"celeba": 0.5}], 2),
        ("data.folders", [{"celeba": "/a", "animef": "/b"}, {"celeba": "/a", "animef": "/c"}], 1),
        ("data.folders", [{"celeba": "/a"}, {"celeba": "/b"}], 2),
        ("eval.steps", [3, 5], 1),
        ("stream", ["celeba-anime", "celeba-df2k", "imagenet"], 1),
        ("model.inner_channel", [16, 32], 2),
    ],
)
def test_a_source_is_told_apart_by_what_its_weights_depend_on(
    write: Write, key: str, values: list[Any], count: int
) -> None:
    found = [source(m.config) for m in members(write, **{key: values}).members]
    assert len({shared[0] for shared in found if shared}) == count


def test_a_source_is_another_where_its_images_are(
    write: Write, image_folder: Callable[..., Path], tmp_path: Path
) -> None:
    def name(folder: Path) -> str:
        folders = {"celeba": str(folder), "animef": str(folder)}
        found = source(members(write, **{"data.folders": [folders]}).members[0].config)
        assert found
        return found[0]

    folder = image_folder("faces", 5)
    first = name(folder)
    for file in folder.iterdir():
        os.utime(file, (1, 1))  # as a copy has other times
    assert name(folder) == first
    folder.rename(tmp_path / "moved")
    assert name(tmp_path / "moved") == first
    image = next((tmp_path / "moved").iterdir())
    image.write_bytes(image.read_bytes()[:-1] + b"x")
    assert name(tmp_path / "moved") != first


FAMILY = """
from cl_sr.models.family import Family, ModelKeys

class Keys(ModelKeys):
    width: int = 16

family = Family("mine", Keys, lambda keys, size, conditional: {"width": keys.width}, None)
"""


def test_a_source_is_another_where_the_code_of_its_family_is(tmp_path: Path) -> None:
    """As that of its stream: else weights of a net of before are taken."""
    file = tmp_path / "family.py"

    def name(text: str) -> str:
        file.write_text(text)
        found = source(resolve({"model": {"family": str(file)}}))
        assert found
        return found[0]

    first = name(FAMILY)
    assert name(FAMILY) == first
    assert name(f"{FAMILY}# another net") != first


def test_a_source_is_another_where_the_code_of_its_stream_is(write: Write, tmp_path: Path) -> None:
    file = tmp_path / "stream.py"
    text = (
        "from cl_sr.benchmarks import ANIMEF, CELEBA, Stream\n"
        "stream = Stream('mine', 'faces', (CELEBA, ANIMEF))\n"
    )

    def name(text: str) -> str:
        file.write_text(text)
        found = source(members(write, stream=[str(file)]).members[0].config)
        assert found
        return found[0]

    first = name(text)
    assert name(text) == first
    assert name(f"{text}# another domain") != first


def test_a_member_starts_from_its_source_and_trains_the_rest(write: Write, tmp_path: Path) -> None:
    (member,) = members(write, **{"train.iterations": [[10, 5]]}).members
    config = after_source(member.config, tmp_path)
    assert config.init == str(tmp_path / "checkpoints" / "celeba")
    assert config.train.iterations == (0, 5)
    same = {"init": member.config.init, "train": member.config.train}
    assert config.model_copy(update=same) == member.config


def test_a_class_that_is_derived_from_a_shipped_strategy_says_it_itself(
    write: Write, tmp_path: Path
) -> None:
    text = (
        "from dataclasses import dataclass\n"
        "from cl_sr.strategies import Traits\n"
        "from cl_sr.strategies.replay import Replay\n"
        "@dataclass(frozen=True)\n"
        "class Mine(Replay):\n"
        "    '''Mine.'''\n"
    )
    silent, plain = tmp_path / "silent.py", tmp_path / "plain.py"
    silent.write_text(text)
    plain.write_text(f"{text}    traits = Traits(plain_start=True)\n")
    one, two = members(write, strategy=[str(silent), str(plain)]).members
    assert source(one.config) is None
    assert source(two.config) is not None
