"""Runs that go on from finished ones: the same bits as runs that were planned so from the start."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from running import Cut, results
from strategy_cases import ALL, CYCLE, TOGETHER

from cl_sr.errors import InputError
from cl_sr.runs.descent import Descent
from cl_sr.runs.execute import execute
from cl_sr.runs.folder import RunFolder
from cl_sr.runs.loading import load
from cl_sr.runs.origin import check_images, descend
from cl_sr.runs.parent import Parent
from cl_sr.runs.plan import check
from running import run

pytestmark = pytest.mark.run

THREE = "stream=celeba-anime-df2k"


def descent(path: Path, overrides: Sequence[str]) -> Descent:
    parent = Parent(path)
    return Descent(parent, check(parent.configuration([], {}, overrides)))


def go_on(parent: Path, out: Path, overrides: Sequence[str], **more: Any) -> Path:
    """A run that goes on from a finished one; `more` is for `execute`."""
    found = descent(parent, overrides)
    loaded = load(found.plan)
    check_images(found, loaded)
    execute(loaded, descend(found, loaded, out, False), resume=True, **more)
    return out


def same(one: Path, other: Path) -> None:
    """Two runs are, byte for byte, but for what was measured by a clock."""
    ours, theirs = results(one), results(other)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    for path in one, other:
        assert RunFolder(path).finished


@pytest.mark.parametrize("strategy", ["finetune", "joint", "router:rank=2"])
def test_a_run_that_is_lengthened_equals_one_that_was_longer_from_the_start(
    tmp_path: Path, tiny: list[str], strategy: str
) -> None:
    settings = [*tiny, f"strategy={strategy}", "model.dropout=0.1"]
    run(tmp_path / "long", [*settings, "train.iterations=[4,5]"])
    run(tmp_path / "short", [*settings, "train.iterations=[4,2]"])
    go_on(tmp_path / "short", tmp_path / "on", ["train.iterations=[4,5]"])
    same(tmp_path / "on", tmp_path / "long")


@pytest.mark.parametrize("strategy", ["replay:size=6", "router:rank=2", "ewc:samples=3"])
def test_a_run_of_a_further_domain_equals_one_that_had_it_from_the_start(
    tmp_path: Path, tiny: list[str], strategy: str
) -> None:
    settings = [*tiny, f"strategy={strategy}", "model.dropout=0.1", "eval.every=0"]
    run(tmp_path / "three", [*settings, THREE, "train.iterations=[4,2,3]"])
    run(tmp_path / "two", [*settings, "train.iterations=[4,2]"])
    go_on(tmp_path / "two", tmp_path / "on", [THREE, "train.iterations=3"])
    same(tmp_path / "on", tmp_path / "three")
