from pathlib import Path

import pytest

from cl_sr.errors import InputError
from cl_sr.evaluation import ForgettingMatrix
from cl_sr.training.run_folder import RunFolder


def make_run(path: Path) -> RunFolder:
    folder = RunFolder.create(path, overwrite=False)
    folder.write("config.yaml", "seed: 0\n")
    folder.write_json("status.json", {"state": "finished"})
    folder.write_json("env.json", {"metrics": {"psnr": True, "lpips": False}})
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
    folder.append_metrics("{}")
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
    folder.write_matrices(matrices)
    assert folder.matrices() == matrices


def test_a_metrics_line_cut_short_by_a_kill_is_left_out(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    folder.append_metrics('{"iteration": 0}')
    with (folder.path / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": 1, "ps')
    assert list(folder.metrics()) == [{"iteration": 0}]
