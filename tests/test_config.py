"""Configurations: presets, overrides, the check of every key, and what is told of mistakes."""

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cl_sr.config import keys, pick, presets, read_preset, resolve
from cl_sr.errors import InputError
from cl_sr.models.families.sr3 import SR3Keys
from cl_sr.strategies import Choice, spell
from cl_sr.yaml_text import arguments, parse_yaml, read_yaml


@pytest.mark.parametrize("name", sorted(presets()))
def test_presets_are_valid_and_open_with_their_command(name: str) -> None:
    resolve(read_preset(name))
    text = (Path(__file__).parents[1] / "configs" / f"{name}.yaml").read_text()
    comment = text[: text.index("\ntrain:")]
    assert re.search(r"^#   cl-sr run .*--stream", comment, re.M)
    assert re.search(r"(expect|measured)", comment, re.I)


def test_the_presets_that_the_project_promises() -> None:
    assert set(presets()) >= {"demo", "small", "sr3-16-128", "sr3-16-128-large"}


def test_overrides_of_every_type() -> None:
    config = resolve(
        {},
        [
            "train.lr=1e-4",
            "train.iterations=[10, 20]",
            "data.flip=false",
            "eval.steps=null",
            "eval.metrics=ssim,lpips",
            "data.folders.celeba=/x",
            "model.channel_mults=[1, 2]",
        ],
    )
    assert config.train.lr == 1e-4
    assert config.train.iterations == (10, 20)
    assert config.data.flip is False
    assert config.eval.steps is None
    assert config.eval.metrics == ("psnr", "ssim", "lpips")
    assert config.data.folders == {"celeba": "/x"}
    assert isinstance(config.model, SR3Keys)
    assert config.model.channel_mults == (1, 2)


def test_a_configuration_written_is_read_back() -> None:
    config = resolve(read_preset("small"), ["seed=5", "train.iterations=[1, 2]"])
    assert resolve(yaml.safe_load(config.to_yaml())) == config


def is_read(text: str) -> bool:
    """Whether a text of a strategy has its grammar: `a:b` has not."""
    try:
        resolve({"strategy": text})
    except InputError:
        return False
    return True


NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,9}", fullmatch=True)
OPTIONS = st.dictionaries(
    st.from_regex(r"[a-z_]{1,6}", fullmatch=True),
    st.integers() | st.booleans() | st.none() | st.text(max_size=9).filter(str.isprintable),
    max_size=3,
)
STRATEGIES = st.text(min_size=1, max_size=20).filter(str.isprintable).filter(is_read) | st.lists(
    NAMES | st.dictionaries(NAMES, OPTIONS, min_size=1, max_size=1), min_size=1, max_size=3
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "seed": st.integers(0, 2**31),
            "train": st.fixed_dictionaries(
                {"lr": st.floats(1e-9, 1.0), "iterations": st.integers(1, 10**6)}
            ),
            "eval": st.fixed_dictionaries({"every": st.integers(0, 10**6)}),
            "strategy": STRATEGIES,
        },
    )
)
def test_any_valid_configuration_survives_yaml(values: dict[str, Any]) -> None:
    config = resolve(values)
    assert resolve(yaml.safe_load(config.to_yaml())) == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.iteration=5", "did you mean 'train.iterations'"),
        ("iterations=5", "did you mean 'train.iterations'"),
        ("lr=5", "did you mean 'train.lr'"),
        ("train.lr=fast", "train.lr='fast'"),
        ("train.lr=.nan", "train.lr=nan"),
        ("train.lr=-1", "train.lr=-1"),
        ("train.iterations=many", "train.iterations='many'"),
        ("train.iterations=-5", "train.iterations=-5"),
        ("train.iterations=true", "train.iterations=True"),
        ("data.scale=5", "data.scale=5 does not divide data.size=32"),
        ("data.size=8", "at least 11"),
        ("eval.sampler=euler", "eval.sampler='euler'"),
        ("device=tpu", "device='tpu'"),
        ("seed", "not key=value"),
        ("=3", "not key=value"),
        ("train=3", "unknown key 'train'"),
        ("seed=[", "not a YAML value"),
        ("eval.metrics=3", "eval.metrics=3"),
        ("model.channel_mults=[]", "model.channel_mults"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(override: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as error:
        resolve({}, [override])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trian": {}}, "unknown key 'trian': did you mean"),
        ({"train": {"lrr": 1}}, "unknown key 'train.lrr': did you mean 'train.lr'"),
        ({"train": 3}, "train"),
    ],
)
def test_files_are_checked_like_overrides(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolve(values)


# Strategies


REPLAY = (Choice("replay", {"size": 16, "mix": True}), Choice("wise-ft"))


@pytest.mark.parametrize(
    "given",
    [
        [{"replay": {"size": 16, "mix": True}}, "wise-ft"],
        [{"replay": {"size": 16, "mix": True}}, {"wise-ft": None}],
        [{"replay": {"size": 16, "mix": True}}, {"wise-ft": {}}],
        REPLAY,
    ],
)
def test_strategies_as_lists(given: Any) -> None:
    config = resolve({"strategy": given})
    assert config.strategy == REPLAY
    assert spell(config.strategy) == "replay:size=16,mix=true+wise-ft"
    written = parse_yaml(config.to_yaml())["strategy"]
    assert written == [{"replay": {"size": 16, "mix": True}}, "wise-ft"]
    assert resolve({"strategy": written}) == config


@pytest.mark.parametrize(
    "given",
    [
        "replay:size=16,mix=true+wise-ft",
        "replay:size=16,mix=true + wise-ft",
        ["replay:size=16,mix=true", "wise-ft"],
        ["replay:size=16,mix=true+wise-ft"],
    ],
)
def test_strategies_as_text_have_texts_for_options_until_they_are_made(given: Any) -> None:
    config = resolve({"strategy": given})
    assert config.strategy == (Choice("replay", {"size": "16", "mix": "true"}), Choice("wise-ft"))
    assert spell(config.strategy) == "replay:size=16,mix=true+wise-ft"
    assert resolve(parse_yaml(config.to_yaml())) == config


def test_one_strategy_with_options_needs_no_list() -> None:
    given = {"replay": {"size": 16}}
    assert resolve({"strategy": given}).strategy == (Choice("replay", {"size": 16}),)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("strategy=replay:size=4+wise-ft", "replay:size=4+wise-ft"),
        ("strategy=[replay, wise-ft]", "replay+wise-ft"),
        ("strategy=[{replay: {size: 4}}, wise-ft]", "replay:size=4+wise-ft"),
        ("strategy={replay: {size: 4}}", "replay:size=4"),
        ("strategy=avalanche:ReplayPlugin:mem_size=100", "avalanche:ReplayPlugin:mem_size=100"),
        ("strategy=lora:where=a|b,rank=4", "lora:where=a|b,rank=4"),
    ],
)
def test_strategies_of_an_override(override: str, expected: str) -> None:
    assert spell(resolve({}, [override]).strategy) == expected


def test_a_strategy_of_a_file_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    expected = (Choice(f"{tmp_path}/mine.py:Mine", {"a": "1"}),)
    for text in ("./mine.py:Mine:a=1", [{"./mine.py:Mine": {"a": "1"}}]):
        assert resolve({"strategy": text}).strategy == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "there is none in the list"),
        (None, "None is no strategy"),
        (3, "3 is no strategy; write finetune, or a list such as"),
        (["replay", 3], "3 is no strategy"),
        ([{"replay": {}, "ewc": {}}], "is no strategy"),
        ([{"replay": 4}], "strategy replay: options are keys and values"),
        ([{"replay": {3: 4}}], "strategy replay: the names of options are text"),
        ("replay:size", "strategy replay: 'size' is not option=value"),
        ("replay:size=4,size=5", "strategy replay: size is given twice"),
    ],
)
def test_what_is_no_list_of_strategies_is_told(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as error:
        resolve({"strategy": given})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("given", ["replay+ewc", ["replay", "ewc"], [{"replay": {}}, "ewc"]])
def test_an_option_of_a_strategy_is_put_over_it(given: Any) -> None:
    values = {"strategy": given}
    config = resolve(values, ["strategy.replay.size=4", "strategy.ewc.weight=0.5"])
    assert config.strategy == (Choice("replay", {"size": 4}), Choice("ewc", {"weight": 0.5}))
    assert values == {"strategy": given}  # as it was


def test_an_option_is_put_over_the_same_option() -> None:
    config = resolve({}, ["strategy=replay:size=4,ratio=0.25", "strategy.replay.size=8"])
    assert config.strategy == (Choice("replay", {"size": 8, "ratio": "0.25"}),)


@pytest.mark.parametrize(
    ("strategy", "override"),
    [
        ("./mine.py", "strategy.mine.size=4"),
        ("./mine.py:Mine", "strategy.mine.size=4"),
        ("avalanche:ReplayPlugin", "strategy.avalanche.mem_size=4"),
    ],
)
def test_options_of_strategies_that_only_their_check_knows(strategy: str, override: str) -> None:
    (choice,) = resolve({"strategy": strategy}, [override]).strategy
    assert choice.options[override.partition("=")[0].rpartition(".")[2]] == 4


@pytest.mark.parametrize(
    ("strategy", "override", "message"),
    [
        ("finetune", "strategy.replay.size=4",
         "strategy.replay.size: replay is not among the strategies (finetune): add --strategy "
         "replay"),
        ("replay", "strategy.replay.siez=4",
         "strategy replay has no option 'siez': did you mean 'size'?"),
        ("finetune", "strategy.finetune.size=4", "strategy finetune has no options"),
        ("replay", "strategy.replya.size=4", "did you mean 'replay'"),
        ("replay", "strategy.size=4", "strategy.NAME.OPTION"),
        ("replay", "strategy.replay.size.x=4", "unknown key 'strategy.replay.size.x'"),
    ],
)  # fmt: skip
def test_an_option_that_cannot_be_put_is_told(strategy: str, override: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        resolve({"strategy": strategy}, [override])


def test_an_option_is_picked_with_its_default() -> None:
    values = {"strategy": ["replay:ratio=0.25", "./mine.py:Mine:a=3"]}
    for key, expected in (
        ("strategy.replay.ratio", "0.25"),
        ("strategy.replay.size", 160),
        ("strategy.mine.a", "3"),
        ("strategy.mine.b", None),
        ("strategy.ewc.weight", None),
    ):
        assert pick(values, key) == expected


@given(st.sampled_from([name for name, _ in keys()]), st.text(max_size=12))
def test_no_value_of_any_key_is_a_traceback(key: str, value: str) -> None:
    with contextlib.suppress(InputError):
        resolve({}, [f"{key}={value}"])


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    with pytest.raises(InputError, match="cannot read"):
        read_yaml(file)
    for text in ("- 1", "just text", "a: [", ""):
        file.write_text(text)
        with pytest.raises(InputError, match=r"c\.yaml"):
            read_yaml(file)


@pytest.mark.parametrize(("text", "value"), [("1e-3", 0.001), ("5E4", 5e4), ("1e", "1e")])
def test_numbers_in_scientific_notation(text: str, value: Any) -> None:
    """As in YAML 1.2, where they need no point."""
    assert parse_yaml(text) == value
    assert arguments([f"max_lr={text}"]) == {"max_lr": value}


def test_text_that_looks_like_such_a_number_stays_text() -> None:
    config = resolve({"data": {"folders": {"1e5": "/x"}}})
    assert list(parse_yaml(config.to_yaml())["data"]["folders"]) == ["1e5"]


def test_an_unknown_preset_is_told_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'small'"):
        read_preset("smal")
