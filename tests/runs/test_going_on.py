"""Runs that go on from finished ones: the same bits as runs that were planned so from the start."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY
from running import Cut, results, run
from strategy_cases import CYCLE

from cl_sr.errors import InputError
from cl_sr.reporting import build_report
from cl_sr.runs.descent import Descent
from cl_sr.runs.execute import execute
from cl_sr.runs.folder import RunFolder
from cl_sr.runs.loading import load
from cl_sr.runs.origin import check_images, descend
from cl_sr.runs.parent import Parent
from cl_sr.runs.plan import check
from cl_sr.runs.record import Record

pytestmark = pytest.mark.run

THREE = "stream=celeba-anime-df2k"
# Of what remembers images, with numbers that are drawn; and without evaluations within domains,
# which nobody can make up for.
REPLAY = [*TINY, "strategy=replay:size=6", "model.dropout=0.1", "eval.every=0"]


def descent(parent: Path, overrides: Sequence[str], data: Sequence[str] = ()) -> Descent:
    found = Parent(parent)
    return Descent(found, check(found.configuration(data, {}, overrides)))


def go_on(parent: Path, out: Path, overrides: Sequence[str], **more: Any) -> Path:
    """A run that goes on from a finished one; `more` is for `execute`."""
    found = descent(parent, overrides)
    loaded = load(found.plan)
    check_images(found, loaded)
    execute(loaded, descend(found, loaded, out, False), resume=True, **more)
    return out


def same(one: Path, other: Path, besides: Sequence[str] = ()) -> None:
    """Two runs are, byte for byte, in all that does not depend on a clock."""
    ours, theirs = results(one), results(other)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == [*besides]
    assert RunFolder(one).finished


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two domains."""
    return run(tmp_path_factory.mktemp("two") / "run", [*REPLAY, "train.iterations=[4,2]"]).path


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that goes on from it, planned so from the start."""
    path = tmp_path_factory.mktemp("three") / "run"
    return run(path, [*REPLAY, THREE, "train.iterations=[4,2,3]"]).path


@pytest.mark.parametrize("strategy", ["finetune", "joint", CYCLE])
def test_a_run_that_is_lengthened_equals_one_that_was_longer_from_the_start(
    tmp_path: Path, tiny: list[str], strategy: str
) -> None:
    """An evaluation falls on what was the last iteration, too."""
    settings = [*tiny, f"strategy={strategy}", "model.dropout=0.1"]
    run(tmp_path / "long", [*settings, "train.iterations=[4,5]"])
    run(tmp_path / "short", [*settings, "train.iterations=[4,2]"])
    longer = ["train.iterations=[4,5]"]
    go_on(tmp_path / "short", tmp_path / "on", longer)
    same(tmp_path / "on", tmp_path / "long")
    notes = descent(tmp_path / "short", longer).notes()
    paced = f"the learning rates of {strategy} go on as they were set for 2 iterations"
    assert [note.startswith(paced) for note in notes] == [True] * (strategy == CYCLE)


def test_a_further_domain_equals_one_that_was_there_from_the_start(
    tmp_path: Path, two: Path, three: Path
) -> None:
    before = {path: path.read_bytes() for path in two.rglob("*") if path.is_file()}
    go_on(two, tmp_path / "on", [THREE, "train.iterations=3"])
    same(tmp_path / "on", three)
    assert {path: path.read_bytes() for path in two.rglob("*") if path.is_file()} == before
    costs = [list(Record(path).costs) for path in (tmp_path / "on", three)]
    assert costs == [["celeba", "animef", "df2k-ost"]] * 2
    told = build_report(Record(tmp_path / "on")).protocol
    assert f"Goes on from the run {two} (celeba for 4, animef for 2 iterations)." in told
    assert "Goes on from" not in build_report(Record(two)).protocol


@pytest.mark.parametrize("strategy", ["router:rank=2", "ewc:samples=3", "from-scratch"])
def test_what_strategies_remember_goes_on(tmp_path: Path, tiny: list[str], strategy: str) -> None:
    """Also of EWC, which remembers nothing of a domain that is the last; and of longer ones."""
    settings = [*tiny, f"strategy={strategy}", "eval.every=0", "eval.images=2"]
    run(tmp_path / "three", [*settings, THREE, "train.iterations=[2,3,2]"])
    run(tmp_path / "two", [*settings, "train.iterations=2"])
    go_on(tmp_path / "two", tmp_path / "on", [THREE, "train.iterations=[2,3,2]"])
    same(tmp_path / "on", tmp_path / "three")


def test_it_is_cut_anywhere_and_needs_its_parent_no_more(
    tmp_path: Path, two: Path, three: Path
) -> None:
    """While it makes up for evaluations, while it repeats its parent's last one, and afterwards."""
    parent, out, further = tmp_path / "parent", tmp_path / "on", [THREE, "train.iterations=3"]
    shutil.copytree(two, parent)
    with pytest.raises(SystemExit):
        go_on(parent, out, further, plugins=[Cut("before_eval_iteration", 0)])
    shutil.rmtree(parent)
    settings = [*REPLAY, THREE, "train.iterations=[4,2,3]"]
    for moment in [("before_eval_iteration", 4), ("after_eval", 6), ("after_update", 7)]:
        with pytest.raises(SystemExit):
            run(out, settings, resume=True, plugins=[Cut(*moment)])
    run(out, settings, resume=True)
    same(out, three)
    assert json.loads((out / "env.json").read_text())["parent"]["path"] == str(parent)


@pytest.mark.parametrize("left", ["nothing", "a state of before"])
def test_a_parent_that_kept_no_state_of_its_end_is_trained_again_from_before(
    tmp_path: Path, two: Path, three: Path, left: str
) -> None:
    """As all runs of old, and those whose last checkpoint is damaged."""
    parent = tmp_path / "parent"
    if left == "nothing":
        shutil.copytree(two, parent)
        shutil.rmtree(parent / "checkpoints" / "iteration-000006")
    else:
        run(parent, [*REPLAY, "train.iterations=[4,2]", "checkpoint.every=5"])
        tensors = parent / "checkpoints" / "iteration-000006" / "training.safetensors"
        tensors.write_bytes(tensors.read_bytes()[:-1])
    further = [THREE, "train.iterations=3", "checkpoint.every=0"]
    (note,) = descent(parent, further).notes()
    assert f"the last {2 if left == 'nothing' else 1} of animef are trained again" in note
    go_on(parent, tmp_path / "on", further)
    same(tmp_path / "on", three)


def test_evaluations_within_domains_cannot_be_made_up_for_and_it_says_so(
    tmp_path: Path, tiny: list[str]
) -> None:
    run(tmp_path / "three", [*tiny, THREE, "train.iterations=[3,3,3]"])
    run(tmp_path / "two", [*tiny, "train.iterations=[3,3]"])
    go_on(tmp_path / "two", tmp_path / "on", [THREE, "train.iterations=3"])
    lost = [f"samples/df2k-ost/iteration-{number:06d}.png" for number in (2, 5)]
    for name in lost:
        (tmp_path / "three" / name).unlink()
    same(tmp_path / "on", tmp_path / "three", besides=["metrics.jsonl"])
    ours, theirs = (
        (tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("on", "three")
    )
    gone = [json.loads(line) for line in theirs if line not in ours]
    assert [(r["iteration"], r["domain"]) for r in gone] == [(2, "df2k-ost"), (5, "df2k-ost")]
    assert ours == [line for line in theirs if line in ours]
    told = build_report(Record(tmp_path / "on")).protocol
    assert "The parent's evaluations within domains lack df2k-ost" in told


def test_what_is_not_saved_is_told(tmp_path: Path, tiny: list[str]) -> None:
    settings = [*tiny, "strategy=avalanche:EWCPlugin:ewc_lambda=0.1", "train.iterations=1"]
    run(tmp_path / "run", [*settings, "eval.images=0"])
    (note,) = descent(tmp_path / "run", [THREE]).notes()
    assert note.startswith("what the plugins EWCPlugin remembered was not saved")


def test_other_images_are_refused(tmp_path: Path, tiny: list[str], image_folder: Any) -> None:
    domains = ["celeba", "animef", "df2k-ost"]
    folders = [f"{name}={image_folder(name, 8, seed=k)}" for k, name in enumerate(domains)]
    data = [f"data.folders.{folder}" for folder in folders[:2]]
    run(tmp_path / "run", [*tiny, *data, "train.iterations=1", "eval.images=0"])
    found = descent(tmp_path / "run", [THREE], folders[2:])  # the others stay where they were
    check_images(found, load(found.plan))
    os.rename(tmp_path / "animef", tmp_path / "moved")
    with pytest.raises(InputError, match="for the domain animef: give --data animef=DIR"):
        descent(tmp_path / "run", [THREE], folders[2:])
    moved = [*folders[2:], f"animef={tmp_path / 'moved'}"]
    found = descent(tmp_path / "run", [THREE], moved)
    check_images(found, load(found.plan))
    image_folder("moved", 9, seed=1)
    with pytest.raises(InputError, match="the images of celeba, animef are not those that"):
        check_images(found, load(found.plan))
