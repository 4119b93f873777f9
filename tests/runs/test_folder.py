"""The folder of a run: making, replacing and locking it; and what is read from it."""

from pathlib import Path

import pytest
from running import load_run

from cl_sr.errors import InputError
from cl_sr.evaluation import ForgettingMatrix
from cl_sr.evaluation.matrix import to_csv
from cl_sr.runs.execute import execute
from cl_sr.runs.folder import RunFolder
from cl_sr.runs.record import Record


def make_run(path: Path) -> RunFolder:
    folder = RunFolder.create(path, overwrite=False)
    folder.write("config.yaml", "stream: celeba-anime\nstrategy: finetune\n")
    folder.write_json("status.json", {"state": "finished"})
    folder.write_json("env.json", {"metrics": {"psnr": True, "lpips": False}, "data": {}})
    return folder


def test_a_new_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a" / "b")
    assert RunFolder.open(folder.path) == folder


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, overwrite=False)


def test_a_folder_that_is_not_empty_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("data")
    with pytest.raises(InputError, match="--overwrite"):
        RunFolder.create(tmp_path, overwrite=False)
    with pytest.raises(InputError, match="replaces runs only"):
        RunFolder.create(tmp_path, overwrite=True)
    assert (tmp_path / "precious.txt").read_text() == "data"


def test_overwrite_replaces_a_run_whole(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    folder.write("metrics.jsonl", "{}\n")
    RunFolder.create(folder.path, overwrite=True)
    assert list(folder.path.iterdir()) == []


@pytest.mark.parametrize("out", ["file", "file/below", "/proc/nowhere/run"])
def test_places_that_cannot_be_written(tmp_path: Path, out: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="choose another --out"):
        RunFolder.create(tmp_path / out, overwrite=False)


def test_something_else_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no config\.yaml and no status\.json"):
        RunFolder.open(tmp_path)


def test_matrices_keep_their_direction(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    matrices = [ForgettingMatrix("psnr"), ForgettingMatrix("lpips", higher_is_better=False)]
    for matrix in matrices:
        matrix.record("bicubic", "celeba", 1 / 3)
    folder.write("matrix.csv", to_csv(matrices))
    assert Record(folder.path).matrices == matrices


def test_a_metrics_line_cut_short_by_a_kill_is_left_out(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    folder.write("metrics.jsonl", '{"iteration": 0}\n{"iteration": 1, "ps')
    assert Record(folder.path).metrics == [{"iteration": 0}]


def test_two_processes_cannot_write_one_run(tmp_path: Path, tiny: list[str]) -> None:
    folder = RunFolder.create(tmp_path / "run", overwrite=False)
    assert not folder.locked
    with folder.lock():
        assert RunFolder(tmp_path / "run").locked
        with pytest.raises(InputError, match="another process is at work"):
            execute(load_run(tiny), folder)
    assert not folder.locked
