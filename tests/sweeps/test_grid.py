"""Sweeps: what a file and its overrides mean, and what is refused."""

from __future__ import annotations

import re
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
from cl_sr.strategies import spell
from cl_sr.sweeps import read_sweep

Write = Callable[..., str]


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
    found = {(m.config.seed, spell(m.config.strategy)) for m in sweep.members}
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


def test_an_option_of_a_strategy_is_varied(write: Write) -> None:
    run = {"strategy": "replay:ratio=0.25+wise-ft"}
    grid = {"strategy.replay.size": [4, "16"], "seed": [0, 1]}
    sweep = read_sweep(write(run=run, grid=grid, baseline={"strategy.replay.size": 16}))
    assert [m.name for m in sweep.members] == [
        "size4-seed0",
        "size4-seed1",
        "size16-seed0",
        "size16-seed1",
    ]
    assert [spell(m.config.strategy) for m in sweep.members[::2]] == [
        "replay:ratio=0.25,size=4+wise-ft",
        "replay:ratio=0.25,size=16+wise-ft",
    ]
    assert sweep.keys == ["strategy.replay.size", "seed"]
    assert sweep.baseline == {"strategy.replay.size": 16}
    described = sweep.description()
    assert described["members"]["size16-seed1"] == {"strategy.replay.size": 16, "seed": 1}
    # What is varied in a strategy is no difference between two calls of the sweep.
    assert "strategy" not in described["fixed"]


def test_an_option_that_is_varied_is_taken_by_hand_as_any_key(write: Write) -> None:
    file = write(run={"strategy": "replay"}, grid={"strategy.replay.size": [4, 16]})
    for override, sizes in (("[8,9]", [8, 9]), ("3", [3])):
        members = read_sweep(file, overrides=[f"strategy.replay.size={override}"]).members
        assert [m.values(["strategy.replay.size"]) for m in members] == [
            {"strategy.replay.size": size} for size in sizes
        ]
    (one, _) = read_sweep(file, overrides=["strategy.replay.ratio=0.25"]).members
    assert spell(one.config.strategy) == "replay:ratio=0.25,size=4"
    members = read_sweep(file, overrides=["strategy=replay+wise-ft"]).members
    assert [spell(m.config.strategy) for m in members] == [
        "replay:size=4+wise-ft",
        "replay:size=16+wise-ft",
    ]
    with pytest.raises(InputError, match="replay is not among the strategies"):
        read_sweep(file, overrides=["strategy=finetune"])


def test_an_option_is_varied_of_those_strategies_that_have_it(write: Write) -> None:
    """Beside a key that varies the strategies, in a grid of its own."""
    grids = [
        {"strategy": ["finetune"]},
        {"strategy": ["replay", "replay+wise-ft"], "strategy.replay.size": [4, 16]},
    ]
    sweep = read_sweep(write(grid=grids, baseline={"strategy": "finetune"}))
    assert [spell(m.config.strategy) for m in sweep.members] == [
        "finetune",
        "replay:size=4",
        "replay:size=16",
        "replay:size=4+wise-ft",
        "replay:size=16+wise-ft",
    ]
    assert sweep.members[0].values(sweep.keys) == {
        "strategy": "finetune",
        "strategy.replay.size": None,
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"grid": {"strategy.replay.size": [4]}},
            "replay is not among the strategies (finetune): add --strategy replay",
        ),
        (
            {"grid": {"strategy.replay.siez": [4]}, "run": {"strategy": "replay"}},
            "strategy replay has no option 'siez': did you mean 'size'?",
        ),
        (
            {
                "grid": {"strategy.replay.size": [4]},
                "run": {"strategy": "replay"},
                "baseline": {"strategy.replay.size": 5},
            },
            "baseline has strategy.replay.size=5, which no member has",
        ),
    ],
)
def test_an_option_that_cannot_be_varied_is_told(
    write: Write, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        read_sweep(write(**values))


def test_strategies_stand_in_a_grid_as_text_or_as_lists(write: Write) -> None:
    choices: list[Any] = [
        ["finetune"],
        "l2-sp+wise-ft",
        [{"replay": {"size": 4, "mix": True}}, "wise-ft"],
        [{"timestep-window": {"stop": 200}}, {"ewc": None}],
        "timestep-window:stop=0200",
    ]
    baseline = {"strategy": ["finetune"]}
    sweep = read_sweep(write(grid={"strategy": choices, "seed": [0]}, baseline=baseline))
    assert [m.name for m in sweep.members] == [
        "finetune-seed0",
        "l2-sp-wise-ft-seed0",
        "replay-size=4-mix=true-wise-ft-seed0",
        "timestep-window-stop=200-ewc-seed0",
        "timestep-window-stop=0200-seed0",
    ]
    assert [m.values(["strategy"])["strategy"] for m in sweep.members] == [
        "finetune",
        "l2-sp+wise-ft",
        "replay:size=4,mix=true+wise-ft",
        "timestep-window:stop=200+ewc",
        "timestep-window:stop=200",
    ]
    assert sweep.baseline == {"strategy": "finetune"}


def test_the_same_strategies_are_one_member_however_they_are_spelt(write: Write) -> None:
    """Else they are trained twice, and a comparison refuses both."""
    choices: list[Any] = [
        [{"replay": {"size": 4}}, "wise-ft"],
        "replay:size=4+wise-ft",
        ["replay:size=4", {"wise-ft": None}],
    ]
    (member,) = read_sweep(write(grid={"strategy": choices})).members
    assert member.name == "replay-size=4-wise-ft"


def test_an_option_is_put_into_the_strategy_whichever_the_file_has_first(write: Write) -> None:
    grid = {"strategy.replay.size": [4, 16], "strategy": ["replay", "replay+wise-ft"]}
    found = [spell(m.config.strategy) for m in read_sweep(write(grid=grid)).members]
    assert found == ["replay:size=4", "replay:size=4+wise-ft", "replay:size=16",
                     "replay:size=16+wise-ft"]  # fmt: skip


def test_long_names_keep_their_seeds_apart(write: Write) -> None:
    strategy = "avalanche:ReplayPlugin:mem_size=100" + "0" * 90
    names = [
        m.name for m in read_sweep(write(grid={"strategy": [strategy], "seed": [0, 1]})).members
    ]
    (alone,) = read_sweep(write(grid={"strategy": [strategy], "seed": [1]})).members
    assert len(set(names)) == 2
    assert alone.name == names[1]


def test_the_readmes_sweep_is_one(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    blocks = [block.split("```")[0] for block in readme.split("```yaml\n")[1:]]
    (text,) = [block for block in blocks if "grid:" in block]
    path = tmp_path / "readme.yaml"
    path.write_text(text)
    assert len(read_sweep(str(path)).members) == 9
