"""Keys of models in a configuration, and reading a run that somebody made with files of theirs."""

import re
from pathlib import Path
from typing import Any

import pytest

from cl_sr.config import keys, read_preset, resolve
from cl_sr.errors import InputError
from cl_sr.models.families.sr3 import SR3Keys
from cl_sr.yaml_text import parse_yaml


def test_the_default_model_is_sr3_and_says_so() -> None:
    config = resolve({})
    assert isinstance(config.model, SR3Keys)
    assert parse_yaml(config.to_yaml())["model"]["family"] == "sr3"
    assert "model.family" in dict(keys())


FAMILY = """
from pydantic import Field
from cl_sr.models.family import Family, ModelKeys
from cl_sr.schema import Size

class Keys(ModelKeys):
    width: Size = Field(16, description="channels")

family = Family("mine", Keys, lambda keys, size, conditional: {"width": keys.width}, None)
"""


def test_a_family_of_ones_own_has_its_own_keys(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(FAMILY)
    config = resolve({}, [f"model.family={file}", "model.width=8"])
    assert config.model.model_dump() == {"family": str(file), "width": 8}
    assert resolve(parse_yaml(config.to_yaml())).to_yaml() == config.to_yaml()
    for override, message in (
        ("model.widht=8", "unknown key 'model.widht': did you mean 'model.width'?"),
        ("model.inner_channel=8", "unknown key 'model.inner_channel'"),
        ("model.width=0", "model.width=0"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            resolve({}, [f"model.family={file}", override])


def test_another_family_does_not_take_the_presets_keys_of_sr3(tmp_path: Path) -> None:
    """`cl-sr run model.family=./mine.py`, as the documentation has it."""
    file = tmp_path / "mine.py"
    file.write_text(FAMILY)
    config = resolve(read_preset("demo"), [f"model.family={file}", "model.width=8"])
    assert config.model.model_dump() == {"family": str(file), "width": 8}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.family=sr4", "unknown family 'sr4': did you mean 'sr3'? (or a file: ./mine.py)"),
        ("model.family=3", "model.family=3"),
        ("model.family=/nowhere/mine.py", "no file /nowhere/mine.py"),
        ("model.inner_chanel=8", "unknown key 'model.inner_chanel': did you mean 'model.inner_"),
        ("model.inner.channel=8", "unknown key 'model.inner.channel'"),
        ("model=3", "unknown key 'model'"),
    ],
)
def test_what_is_wrong_about_a_model_is_told(override: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        resolve({}, [override])


def test_to_read_a_run_that_somebody_made_imports_none_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("evil.py").write_text("import pathlib\npathlib.Path('executed').touch()\n")
    values: dict[str, Any] = {
        "stream": "./evil.py",
        "strategy": [{"./evil.py:Mine": {"size": 3}}, "./evil.py:Other:a=1", "theirs"],
        "model": {"family": "./evil.py", "width": 8, "depths": [1, 2]},
    }
    config = resolve(values, reading=True)
    assert not Path("executed").exists()
    # Nothing is lost: it is written and compared as it was.
    told = config.model_dump(mode="json")
    assert told["model"] == {"family": f"{tmp_path}/evil.py", "width": 8, "depths": [1, 2]}
    assert told["strategy"][0] == {f"{tmp_path}/evil.py:Mine": {"size": 3}}
    assert resolve(parse_yaml(config.to_yaml()), reading=True) == config
    # One of a package that is not there is read, too; a misspelt key of ours is not.
    assert resolve({"model": {"family": "theirs", "x": 1}}, reading=True)
    with pytest.raises(InputError, match=r"did you mean 'model\.inner_channel'"):
        resolve({"model": {"inner_chanel": 1}}, reading=True)
    assert not Path("executed").exists()
    with pytest.raises(InputError, match="no `family = Family"):
        resolve(values)
    assert Path("executed").exists()  # to run it is to import it
