"""`cl-sr sweep` as a user calls it."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from cl_sr.cli.main import main
from cl_sr.sweeps.grid import _leaves


@pytest.fixture
def tiny_sweep(tmp_path: Path, tiny: list[str]) -> str:
    values: dict[str, Any] = {}
    for item in [*tiny, "eval.every=0"]:
        key, _, value = item.partition("=")
        values[key] = yaml.safe_load(value)
    path = tmp_path / "tiny.yaml"
    broken = tmp_path / "broken.py"
    broken.write_text(
        "from dataclasses import dataclass\n"
        "from cl_sr.strategies import Strategy, Traits\n"
        "@dataclass(frozen=True)\n"
        "class Broken(Strategy):\n"
        "    '''Fails.'''\n"
        "    traits = Traits(plain_start=True)\n"
        "    def begin(self, learner, memory):\n"
        "        raise ArithmeticError('no way')\n"
    )
    grid = {"strategy": ["finetune", str(broken)], "seed": [0]}
    file = {"title": "A tiny sweep", "run": values, "grid": grid}
    path.write_text(yaml.safe_dump(file, sort_keys=False))
    assert dict(_leaves(values)) == values
    return str(path)


@pytest.mark.run
@pytest.mark.slow
def test_a_sweep_with_a_member_that_fails(
    tiny_sweep: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    command = ["sweep", tiny_sweep, "--out", str(out), "--jobs", "2"]
    monkeypatch.setattr(sys, "argv", ["cl-sr", *command])
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1, result.output
    assert "ArithmeticError: no way" in result.stderr
    assert "1 of 3 runs have failed" in result.stderr
    assert "finetune" in result.stdout
    for name in ("report.html", "report.md", "comparison.csv", "sweep.json", "tables/psnr.csv"):
        assert (out / name).is_file(), name
    (shared,) = (path for path in (out / "sources").iterdir() if path.is_dir())
    rows = list(csv.DictReader((out / "finetune-seed0" / "matrix.csv").open()))
    assert {row["after"] for row in rows} == {"bicubic", "init", "celeba", "animef"}
    config = yaml.safe_load((out / "finetune-seed0" / "config.yaml").read_text())
    assert config["init"] == str(shared / "checkpoints" / "celeba")
    weights = shared / "checkpoints" / "celeba" / "model.safetensors"
    before = weights.stat().st_mtime_ns

    # What is finished stays; a member that is added is run, without the source again.
    command += ["strategy=[finetune, l2-sp]"]
    monkeypatch.setattr(sys, "argv", ["cl-sr", *command])
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert "started l2-sp-seed0" in result.stderr
    assert "started finetune-seed0" not in result.stderr
    assert weights.stat().st_mtime_ns == before
    members = json.loads((out / "sweep.json").read_text())["members"]
    assert [name.split("-")[-2] for name in members] == ["finetune", "sp", "broken.py"]
    assert "is not finished" in result.stderr  # the one that failed is left out, and told
    report = (out / "report.md").read_text()
    assert len(re.findall("^    cl-sr sweep .*tiny.yaml", report, re.MULTILINE)) == 2

    # A comparison of it elsewhere tells its own command.
    result = CliRunner().invoke(main, ["compare", str(out), "--out", str(tmp_path / "other")])
    assert result.exit_code == 0, result.output
    assert f"cl-sr compare {out}" in (tmp_path / "other" / "report.md").read_text()

    # Another sweep of that name is not put beside it.
    result = CliRunner().invoke(main, [*command, "train.lr=0.125"])
    assert result.exit_code == 2
    assert "holds a sweep of another train.lr" in result.stderr


@pytest.mark.run
@pytest.mark.slow
def test_where_all_members_fail_that_is_said(tiny_sweep: str, tmp_path: Path) -> None:
    file = yaml.safe_load(Path(tiny_sweep).read_text())
    file["grid"]["strategy"] = file["grid"]["strategy"][1:]
    Path(tiny_sweep).write_text(yaml.safe_dump(file, sort_keys=False))
    result = CliRunner().invoke(main, ["sweep", tiny_sweep, "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "all runs have failed" in result.stderr


def test_dry_run_lists_and_writes_nothing(tiny_sweep: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(main, ["sweep", tiny_sweep, "--out", str(out), "--dry-run"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split("-")[0] for line in lines] == ["celeba", "finetune", "tmp"]
    assert "after celeba-seed0-" in lines[1]
    assert not out.exists()


def test_a_sweep_over_an_option_of_a_strategy(tiny_sweep: str, tmp_path: Path) -> None:
    file = yaml.safe_load(Path(tiny_sweep).read_text())
    file["run"]["strategy"] = [{"replay": {"ratio": 0.25}}]
    file["grid"] = {"strategy.replay.size": [4, 16]}
    Path(tiny_sweep).write_text(yaml.safe_dump(file, sort_keys=False))
    command = ["sweep", tiny_sweep, "--out", str(tmp_path / "out"), "--dry-run"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    source, *members = (line.partition(":")[0] for line in result.stdout.splitlines())
    assert members == ["size4", "size16"]
    result = CliRunner().invoke(main, [*command, "strategy.replay.size=8"])
    assert [line.partition(":")[0] for line in result.stdout.splitlines()] == [source, "size8"]
    result = CliRunner().invoke(main, [*command, "strategy.replay.size=many"])
    assert result.exit_code == 2
    assert "strategy replay: size='many'" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "unknown sweep 'nowhere'"),
        (["./nowhere.yaml"], "cannot read"),
        (["small/time-steps", "train.rl=1"], "did you mean 'train.lr'"),
        (["small/time-steps", "seed"], "'seed' is not key=value"),
        (["small/time-steps", "strategy=[finetunee]"], "did you mean 'finetune'"),
        (["small/time-steps", "strategy=[]"], "grid.strategy has no values"),
        (["small/time-steps", "--data", "/nowhere"], "no folder"),
        (["small/time-steps", "--jobs", "0"], "--jobs"),
        (["demo"], "cl-sr run --preset demo"),
        (["small/time-steps", "strategy=[timestep-window:stop=5000]"], "not within 0..2000"),
        (["small/time-steps", "strategy=[distill:on=past]"], "without images of the past"),
        (["small/time-steps", "init=/nowhere.pth"], "/nowhere.pth: no weights here"),
        (["small/zero-shot", "strategy=[ddnm:prior=/nowhere.pt]"], "no file /nowhere.pt"),
        (["small/limited-data", "data.shares.animef=0.5"], "the grid varies data.shares"),
        (
            ["small/time-steps", "strategy.replay.size=4"],
            "the grid varies strategy: give strategy=",
        ),
    ],
)
def test_bad_input_is_told_before_anything_runs(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["sweep", *arguments])
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "runs").exists()


def test_a_sweep_is_told_where_a_run_is_expected(tiny_sweep: str) -> None:
    result = CliRunner().invoke(main, ["run", "--config", tiny_sweep])
    assert result.exit_code == 2
    assert "cl-sr sweep" in result.stderr
