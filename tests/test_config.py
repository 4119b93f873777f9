import contextlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cl_sr.config import arguments, keys, parse_yaml, presets, read_preset, read_yaml, resolve
from cl_sr.errors import InputError


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
    assert config.model.channel_mults == (1, 2)


def test_a_configuration_written_is_read_back() -> None:
    config = resolve(read_preset("small"), ["seed=5", "train.iterations=[1, 2]"])
    assert resolve(yaml.safe_load(config.to_yaml())) == config


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "seed": st.integers(0, 2**31),
            "train": st.fixed_dictionaries(
                {"lr": st.floats(1e-9, 1.0), "iterations": st.integers(1, 10**6)}
            ),
            "eval": st.fixed_dictionaries({"every": st.integers(0, 10**6)}),
            "strategy": st.text(min_size=1, max_size=20).filter(str.isprintable),
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
