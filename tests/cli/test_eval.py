"""`cl-sr eval`, and what shows its results, as a user calls them."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from conftest import TINY
from running import run

from cl_sr.cli.main import main
from cl_sr.runs.evaluation import EvaluationFolder

pytestmark = pytest.mark.run

SETTINGS = [*TINY, "eval.every=0"]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def in_a_process(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cl_sr", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


@pytest.fixture(scope="module")
def _once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a sweep of two strategies leaves behind, and one run that is not finished."""
    path = tmp_path_factory.mktemp("sweep") / "sweep"
    members: dict[str, Any] = {}
    for strategy in ("finetune", "window-experts:stop=1500"):
        name = strategy.partition(":")[0]
        run(path / name, [*SETTINGS, f"strategy={strategy}", "eval.steps=3"])
        members[name] = {"strategy": strategy}
    shutil.copytree(path / "finetune", path / "stopped")
    (path / "stopped/status.json").write_text('{"state": "interrupted", "iteration": 4, "of": 7}')
    members |= {"stopped": {"strategy": "ewc"}, "later": {"strategy": "joint"}}
    about = {"name": "mine", "title": "Mine", "keys": ["strategy"], "baseline": {}}
    (path / "sweep.json").write_text(json.dumps(about | {"members": members}))
    return path


@pytest.fixture
def sweep(_once: Path, tmp_path: Path) -> Path:
    shutil.copytree(_once, tmp_path / "sweep")
    return tmp_path / "sweep"


def test_a_run_is_judged_and_shown(sweep: Path) -> None:
    made = sweep / "finetune"
    result = call("eval", made, "eval.steps=2", "eval.draws=2")
    assert result.exit_code == 0, result.output
    assert "evaluation steps-2-draws-2" in result.stdout
    place = made / "evaluations/steps-2-draws-2"
    assert f"Everything is in {place}: report.html" in result.stdout.replace("\n", " ")
    assert "after animef: celeba " in result.stderr
    again = call("eval", made, "eval.steps=2", "eval.draws=2")
    assert again.exit_code == 0
    assert f"{place} is there already (--overwrite judges again)" in again.stderr
    shown = call("report", made, "--evaluation", "steps-2-draws-2")
    assert shown.exit_code == 0
    assert "Spread of an image's 2 draws" in shown.stdout
    # None of these is taken for a run.
    assert call("report", place).exit_code == 2
    assert call("run", "--resume", place).exit_code == 2
    assert "evaluations" not in call("runs", sweep).output


def test_keys_of_the_evaluation_are_keys_of_a_state(sweep: Path) -> None:
    result = call("eval", sweep / "stopped", "--after", "celeba", "eval.metrics=sharpness")
    assert result.exit_code == 0, result.output
    assert "is not finished (interrupted at iteration 4 of 7): what is saved" in result.stderr
    assert "sharpness (original: 1)" in result.stdout
    assert "after celeba" in result.stdout
    assert "after animef" not in result.stdout


def test_a_sweep_is_judged_but_for_what_is_not_finished(sweep: Path) -> None:
    result = call("eval", sweep, "eval.steps=2")
    assert result.exit_code == 0, result.output
    assert f"left out: {sweep}/stopped is not finished" in result.stderr
    assert f"left out: {sweep}/later has not been run" in result.stderr
    assert "evaluation steps-2" in result.stdout
    for name in ("finetune", "window-experts"):
        assert (sweep / name / "evaluations/steps-2/report.html").is_file()
    assert not (sweep / "stopped/evaluations").exists()
    for name in ("report.html", "comparison.csv"):
        assert (sweep / "evaluations/steps-2" / name).is_file()
        assert not (sweep / name).exists()
    shown = call("report", sweep, "--evaluation", "steps-2")
    runs = call("compare", sweep / "finetune", sweep / "window-experts", "--evaluation", "steps-2")
    for told in (shown, runs):
        assert told.exit_code == 0, told.output
        assert "sampler ddim, 2 steps" in " ".join(told.stdout.split())
    own = call("compare", sweep / "finetune", sweep / "window-experts")
    assert "sampler ddim, 3 steps" in " ".join(own.stdout.split())


def test_a_key_that_would_train_is_refused_once(sweep: Path) -> None:
    result = call("eval", sweep, "train.lr=1")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: train.lr would change the training")


@pytest.mark.slow
def test_several_runs_at_a_time(sweep: Path) -> None:
    shutil.rmtree(sweep / "window-experts/checkpoints/celeba")
    (sweep / "window-experts/checkpoints/animef/model.safetensors").write_bytes(b"damaged")
    result = call("eval", sweep, "eval.steps=2", "--jobs", "2")
    assert result.exit_code == 1, result.output
    assert "finished finetune" in result.stderr
    assert "failed window-experts" in result.stderr
    assert (sweep / "finetune/evaluations/steps-2/report.html").is_file()
    assert "steps-2" in result.stdout


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_whole(sweep: Path) -> None:
    made = sweep / "finetune"
    command = ["eval", made, "eval.sampler=ancestral", "eval.steps=150", "--name", "long"]
    place = EvaluationFolder(made / "evaluations/long")
    process = in_a_process(*command)
    while not place.has("evaluation.json") or not place.states:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()
    assert process.returncode == 130, told
    assert told.splitlines()[-1] == "Stopped. The same command goes on with it."
    kept = place.states
    assert kept in (["init"], ["init", "celeba"])
    result = call(*command)
    assert result.exit_code == 0, result.output
    assert f"{len(kept)} of them there already" in result.stderr
    assert place.states == ["init", "celeba", "animef"]
