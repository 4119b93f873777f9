"""Checkpoints and folders that were damaged, changed or led elsewhere."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY
from running import EVERY, results, run
from safetensors.torch import load_file, save_file

from cl_sr.errors import InputError
from cl_sr.training import checkpoints as module

pytestmark = pytest.mark.run
SETTINGS = [*TINY, *EVERY]
LAST = Path("checkpoints") / "iteration-000006"


@pytest.mark.parametrize("file", ["model.safetensors", "training.safetensors", "training.json"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_damaged_checkpoint_is_passed_over(
    cut: Path, whole: dict[str, bytes], file: str, share: float
) -> None:
    damaged = cut / LAST / file
    damaged.write_bytes(damaged.read_bytes()[: int(damaged.stat().st_size * share)])
    with pytest.warns(UserWarning, match="damaged checkpoint.*iteration-000006"):
        run(cut, SETTINGS, resume=True)
    assert results(cut) == whole


def test_a_full_disk_leaves_the_last_good_state(
    tmp_path: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    save, calls = module.save_file, []

    def full(tensors: Any, path: Path) -> None:
        calls.append(path)
        save(tensors, path)
        if len(calls) == 3:
            path.write_bytes(path.read_bytes()[:100])
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(InputError, match=r"cannot write the checkpoint .*000003.*No space left"):
        run(tmp_path / "run", SETTINGS)
    folder = tmp_path / "run" / "checkpoints"
    assert sorted(p.name for p in folder.iterdir()) == ["iteration-000001", "iteration-000002"]
    run(tmp_path / "run", SETTINGS, resume=True)
    assert results(tmp_path / "run") == whole


def test_what_a_killed_write_left_is_cleared(cut: Path) -> None:
    folder = cut / "checkpoints"
    (folder / ".iteration-000007.partial").mkdir()
    # Killed between moving the old one away and putting the new one in its place.
    os.replace(folder / "iteration-000006", folder / ".iteration-000006.former")
    run(cut, SETTINGS, resume=True)
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("iteration", 10**18), ("experience", 7), ("experience_iteration", 99), ("trained_on", "x"),
        ("clock", {}), ("clock", []), ("metrics", 3), ("metrics", ["{"]), ("metrics", ['{"n": 1}']),
        ("ema_updates", "x"), ("ema_updates", 10**400), ("ema_updates", -11),
        ("lr", [float("nan")]), ("lr", "x"), ("lr_scale", 0), ("betas", [[0.9, 1.0]]),
        ("numpy", ["MT19937", [1] * 624, 10**9, 0, 0.0]),
        ("python", [3, [1], None]), ("optimizer", {"0": {"foo": "x"}}), ("plugins", {"1-X": {}}),
        ("format", True),
    ],
)  # fmt: skip
def test_a_state_that_somebody_changed(cut: Path, key: str, value: Any) -> None:
    """Refused in one line, or passed over for the one before."""
    file = cut / LAST / "training.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps(values | {key: value}))
    try:
        run(cut, SETTINGS, resume=True)
    except InputError as error:
        message = str(error)
        assert re.search("remove it to go on from", message)
    else:
        assert key in ("format", "iteration", "experience", "experience_iteration")


@pytest.mark.parametrize("version", [1, 3, 99])
def test_a_state_of_another_version_is_kept_and_told(cut: Path, version: int) -> None:
    file = cut / LAST / "training.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": version}))
    before = {path: path.read_bytes() for path in cut.glob("checkpoints/**/*.*")}
    metrics = (cut / "metrics.jsonl").read_bytes()
    with pytest.raises(InputError, match=r"within a domain by another version .* or remove it to"):
        run(cut, SETTINGS, resume=True)
    assert {path: path.read_bytes() for path in cut.glob("checkpoints/**/*.*")} == before
    assert (cut / "metrics.jsonl").read_bytes() == metrics


@pytest.mark.parametrize("change", ["shape", "missing", "step"])
def test_an_optimizer_that_somebody_changed(cut: Path, change: str) -> None:
    file = cut / LAST / "training.safetensors"
    tensors = load_file(file)
    if change == "shape":
        tensors["optimizer.0.exp_avg"] = torch.zeros(3)
    elif change == "missing":
        del tensors["optimizer.0.exp_avg_sq"]
    else:
        tensors["optimizer.0.step"] = torch.zeros(7)
    save_file(tensors, file)
    with pytest.raises(InputError, match="remove it to go on from"):
        run(cut, SETTINGS, resume=True)


def test_lost_lines_of_metrics_come_back_from_the_state(cut: Path, whole: dict[str, bytes]) -> None:
    (cut / "metrics.jsonl").write_bytes(b"\xff garbage")
    (cut / "status.json").write_text("")
    run(cut, SETTINGS, resume=True)
    assert results(cut) == whole


@pytest.mark.parametrize("name", ["checkpoints", "samples", ".lock"])
def test_links_that_lead_out_of_the_run_are_refused(cut: Path, name: str) -> None:
    outside = cut.with_name("outside")
    (cut / name).rename(outside)
    (cut / name).symlink_to(outside)
    before = {p: p.stat().st_mtime_ns for p in outside.glob("**/*")}
    with pytest.raises(InputError, match="is a link"):
        run(cut, SETTINGS, resume=True)
    assert {p: p.stat().st_mtime_ns for p in outside.glob("**/*")} == before


def test_a_link_in_the_place_of_a_partial_file_is_not_followed(cut: Path) -> None:
    victim = cut.with_name("victim.txt")
    victim.write_text("of value")
    (cut / ".status.json.partial").symlink_to(victim)
    run(cut, SETTINGS, resume=True)
    assert victim.read_text() == "of value"
