"""Sweeps: what a file and its overrides mean, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cl_sr.config import presets, read_preset, resolve, shipped_sweeps
from cl_sr.errors import InputError
from cl_sr.sweeps import Sweep, read_sweep
from cl_sr.sweeps.sources import after_source, source

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a sweep's file."""

    def make(**values: Any) -> str:
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(values))
        return str(path)

    return make


@pytest.mark.parametrize("name", sorted(shipped_sweeps()))
def test_shipped_sweeps_are_valid_and_open_with_their_command(name: str) -> None:
    sweep = read_sweep(name)
    assert sweep.name == name
    assert sweep.title
    text = (Path(__file__).parents[2] / "configs" / f"{name}.yaml").read_text()
    head = [line for line in text.splitlines() if line.startswith("#")]
    assert any(line.startswith(f"#   cl-sr sweep {name} --data ") for line in head)
    assert any(line.startswith("# Cost:") for line in head)
    assert "Expect" in text


def test_a_sweep_is_no_preset_of_a_run() -> None:
    assert not set(presets()) & set(shipped_sweeps())
    with pytest.raises(InputError, match="cl-sr sweep small/time-steps"):
        read_preset("small/time-steps")


def test_every_combination_is_a_member(write: Write) -> None:
    sweep = read_sweep(write(grid={"seed": [0, 1], "strategy": ["finetune", "replay:size=4"]}))
    found = {(m.config.seed, m.config.strategy) for m in sweep.members}
    assert found == set(product((0, 1), ("finetune", "replay:size=4")))
    assert [m.name for m in sweep.members] == [
        "finetune-seed0",
        "replay-size=4-seed0",
        "finetune-seed1",
        "replay-size=4-seed1",
    ]
    assert sweep.keys == ["seed", "strategy"]


@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=4), min_size=1, max_size=3))
def test_members_are_the_product_and_differ(values: list[list[int]]) -> None:
    keys = ("seed", "eval.seed", "data.split_seed")[: len(values)]
    path = Path("/tmp") / "cl-sr-hypothesis.yaml"
    path.write_text(yaml.safe_dump({"grid": dict(zip(keys, values, strict=True))}))
    members = read_sweep(str(path)).members
    distinct = 1
    for each in values:
        distinct *= len(set(each))
    assert len(members) == len({m.name for m in members}) == distinct
    assert len({m.config.model_dump_json() for m in members}) == distinct


def test_several_grids_are_those_of_each_and_what_they_share_is_run_once(write: Write) -> None:
    grids = [{"seed": [0, 1]}, {"seed": [1], "train.lr": [1e-3]}, {"seed": [1]}]
    sweep = read_sweep(write(grid=grids))
    assert [(m.config.seed, m.config.train.lr) for m in sweep.members] == [
        (0, 5e-4),
        (1, 5e-4),
        (1, 1e-3),
    ]


def test_sections_and_dotted_keys_are_put_over_the_preset(write: Write) -> None:
    run = {"eval": {"images": 7}, "train.lr": 0.25, "data": {"shares": {"animef": 0.5}}}
    (member,) = read_sweep(write(preset="small", run=run, grid={"seed": [3]})).members
    expected = resolve(
        read_preset("small"),
        ["eval.images=7", "train.lr=0.25", "seed=3", "data.shares={animef: 0.5}"],
    )
    assert member.config == expected


def test_overrides_replace_what_is_varied_and_are_put_over_all_else(write: Write) -> None:
    file = write(grid={"seed": [0, 1], "train.lr": [1e-3, 1e-4]})
    members = read_sweep(file, overrides=["seed=5", "train.lr=[0.5]", "eval.images=2"]).members
    assert [(m.config.seed, m.config.train.lr, m.config.eval.images) for m in members] == [
        (5, 0.5, 2)
    ]


def test_names_do_not_depend_on_how_many_values_are_taken(write: Write) -> None:
    file = write(grid={"seed": [0, 1], "strategy": ["finetune"]})
    (one,) = read_sweep(file, overrides=["seed=1"]).members
    assert one.name in {member.name for member in read_sweep(file).members}


def test_data_and_device_are_as_for_a_run(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(grid={"seed": [0]})
    (member,) = read_sweep(file, data=[str(tmp_path), "animef=/a"], device="cpu").members
    assert member.config.data.root == str(tmp_path)
    assert member.config.data.folders == {"animef": "/a"}
    assert member.config.device == "cpu"
    monkeypatch.setenv("CL_SR_DATA", "/from/the/environment")
    assert read_sweep(file).members[0].config.data.root == "/from/the/environment"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"grid": {}}, "grid is empty"),
        ({"grid": []}, "grid is empty"),
        ({"grid": [{}]}, "grid is empty"),
        ({"grid": {"seed": []}}, "grid.seed has no values"),
        ({"grid": {"seed": 3}}, "keys with lists of values"),
        ({"grid": {"sed": [1]}}, "unknown key 'sed': did you mean 'seed'"),
        ({"grid": {"seed": [-1]}}, "the member seed=-1: seed"),
        ({"grid": {"seed": [1]}, "run": {"traim": {"lr": 1}}}, "unknown key 'traim.lr'"),
        ({"grid": {"seed": [1]}, "baseline": {"strategy": "finetune"}}, "does not vary"),
        ({"grid": {"seed": [1]}, "baseline": {"seed": 2}}, "seed=2, which no member has"),
        ({"grid": {"seed": [1]}, "titel": "x"}, "did you mean 'title'"),
        ({"grid": {"seed": [1]}, "preset": "smal"}, "did you mean 'small'"),
        ({"seed": 1}, "has no grid"),
        ({"grid": {"seed": list(range(200)), "eval.seed": list(range(200))}}, "more than 10000"),
    ],
)
def test_what_cannot_be_is_told(write: Write, values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_sweep(write(**values))


def test_unknown_names_are_told() -> None:
    with pytest.raises(InputError, match="did you mean 'small/time-steps'"):
        read_sweep("small/time-step")
    with pytest.raises(InputError, match="cannot read"):
        read_sweep("./nowhere.yaml")
    with pytest.raises(InputError, match=r"unknown key 'train\.rl'"):
        read_sweep("small/time-steps", overrides=["train.rl=1"])


def test_a_list_is_one_value_where_values_are_lists(write: Write) -> None:
    file = write(grid={"train.iterations": [[1, 2], [3, 4]]})
    for override, count in (("[5,6]", 1), ("[[5,6],[7,8]]", 2), ("9", 1)):
        members = read_sweep(file, overrides=[f"train.iterations={override}"]).members
        assert len(members) == count
    (member,) = read_sweep(file, overrides=["train.iterations=[5,6]"]).members
    assert member.config.train.iterations == (5, 6)


def test_what_is_varied_is_written_as_it_was_checked(write: Write) -> None:
    grids = [{"strategy": ["wise-ft:"], "train.lr": ["1e-3"]}, {"strategy": ["finetune"]}]
    sweep = read_sweep(write(grid=grids, baseline={"train.lr": 5e-4}))
    assert sweep.description()["members"] == {
        "wise-ft-lr0.001": {"strategy": "wise-ft", "train.lr": 0.001},
        "finetune": {"strategy": "finetune", "train.lr": 0.0005},
    }
    assert sweep.baseline == {"train.lr": 0.0005}


def test_long_names_keep_their_seeds_apart(write: Write) -> None:
    strategy = "avalanche:ReplayPlugin:mem_size=100" + "0" * 90
    names = [
        m.name for m in read_sweep(write(grid={"strategy": [strategy], "seed": [0, 1]})).members
    ]
    (alone,) = read_sweep(write(grid={"strategy": [strategy], "seed": [1]})).members
    assert len(set(names)) == 2
    assert alone.name == names[1]


# What members share


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
    assert config.strategy == "finetune"
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
        "from cl_sr.strategies.replay import Replay\n"
        "@dataclass(frozen=True)\n"
        "class Mine(Replay):\n"
        "    '''Mine.'''\n"
    )
    silent, plain = tmp_path / "silent.py", tmp_path / "plain.py"
    silent.write_text(text)
    plain.write_text(f"{text}    plain_start = True\n")
    one, two = members(write, strategy=[str(silent), str(plain)]).members
    assert source(one.config) is None
    assert source(two.config) is not None


def test_the_readmes_sweep_is_one(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    blocks = [block.split("```")[0] for block in readme.split("```yaml\n")[1:]]
    (text,) = [block for block in blocks if "grid:" in block]
    path = tmp_path / "readme.yaml"
    path.write_text(text)
    assert len(read_sweep(str(path)).members) == 9
