"""Python's front door: `cl_sr.run`, `cl_sr.open`, `cl_sr.load`."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from conftest import TINY

import cl_sr
from cl_sr.avalanche import BaseLogger, SupervisedPlugin
from cl_sr.cli.main import main
from cl_sr.errors import InputError
from cl_sr.runs.folder import RunFolder
from cl_sr.yaml_text import parse_yaml

KEYS: dict[str, Any] = {
    key: parse_yaml(value) for key, _, value in (item.partition("=") for item in TINY)
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> cl_sr.Run:
    out = tmp_path_factory.mktemp("runs") / "a"
    return cl_sr.run(
        "demo", stream="celeba-anime", strategy="router:rank=2", out=out, progress=False, **KEYS
    )


@pytest.mark.run
def test_a_run_has_its_matrix_its_metrics_and_its_report(made: cl_sr.Run) -> None:
    matrix = made.matrix
    assert list(matrix.columns) == ["metric", "after", "celeba", "animef"]
    assert matrix["after"].tolist() == ["bicubic", "init", "celeba", "animef"] * 2
    assert len(made.metrics) == 10
    last = made.metrics.iloc[-1]
    final = matrix[(matrix.metric == "psnr") & (matrix.after == "animef")]
    assert last["psnr"] == float(final["animef"].iloc[0])
    report = made.report()
    assert "animef (stand-in) gained" in report.headline
    assert (made.path / "report.html").is_file()
    assert "router:rank=2, finished at 7 of 7 iterations" in repr(made)


@pytest.mark.run
def test_what_was_run_is_opened_and_loaded(made: cl_sr.Run) -> None:
    again = cl_sr.open(str(made.path))
    assert again.matrix.equals(made.matrix)
    lr = torch.rand(2, 3, 4, 4)
    images = cl_sr.load(made.path)(lr)
    assert images.shape == (2, 3, 16, 16)
    assert torch.equal(images, made.load()(lr))
    assert not torch.equal(images, made.load("celeba")(lr))
    assert torch.equal(images, cl_sr.load(made.path / "checkpoints" / "animef")(lr))


@pytest.mark.run
def test_it_is_what_the_command_line_does(
    made: cl_sr.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["run", "--stream", "celeba-anime", "--strategy", "router:rank=2", *TINY]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    (path,) = (tmp_path / "runs").iterdir()
    assert path.name == "celeba-anime-router-rank-2-seed0"
    for name in ("metrics.jsonl", "matrix.csv", "config.yaml"):
        assert (path / name).read_bytes() == (made.path / name).read_bytes()


@pytest.mark.run
def test_a_finished_run_is_gone_on_with(made: cl_sr.Run, tmp_path: Path) -> None:
    """In a new folder, that can be stopped and resumed like any other."""
    keys: dict[str, Any] = {"stream": "celeba-anime-df2k", "train.iterations": [2]}
    out = tmp_path / "on"
    run = cl_sr.run(parent=made.path, out=out, progress=False, **keys)
    assert run.matrix["after"].tolist() == ["bicubic", "init", "celeba", "animef", "df2k-ost"] * 2
    assert not run.matrix.isna().any().any()
    assert run.matrix["celeba"][:4].tolist() == made.matrix["celeba"][:4].tolist()
    assert "finished at 9 of 9 iterations" in repr(run)
    again = cl_sr.run(parent=made.path, out=out, resume=True, progress=False, **keys)
    assert again.matrix.equals(run.matrix)
    with pytest.raises(InputError, match="its seed is 0, not 1"):
        cl_sr.run(parent=made.path, seed=1, **keys)


@pytest.mark.run
def test_without_pandas_there_are_plain_rows(
    made: cl_sr.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert made.matrix[0] == {"metric": "psnr", "after": "bicubic"} | {
        name: pytest.approx(made.record.matrices[0].rows["bicubic"][name])
        for name in ("celeba", "animef")
    }
    assert made.metrics == made.record.metrics


@pytest.mark.run
def test_it_is_interrupted_and_goes_on_and_is_quiet(
    tmp_path: Path, image_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    class Stop(SupervisedPlugin):
        def before_training_iteration(self, template: Any, **_: Any) -> None:
            if template.clock.train_iterations == 5:
                raise KeyboardInterrupt

    class Count(BaseLogger):
        lines = 0

        def log_metrics(self, values: Any) -> None:
            Count.lines += len(values)

    folders = {name: image_folder(name, 12, seed=k) for k, name in enumerate(["celeba", "animef"])}
    arguments: Any = {"data": folders, "out": tmp_path / "run", "progress": False} | KEYS
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(KeyboardInterrupt):
            cl_sr.run(**arguments, plugins=[Stop()], **{"checkpoint.every": 1})
        assert cl_sr.open(tmp_path / "run").record.state == "interrupted"
        assert (tmp_path / "run" / "report.html").is_file()
        run = cl_sr.run(**arguments, resume=True, loggers=[Count()], **{"checkpoint.every": 1})
    assert run.record.state == "finished"
    assert Count.lines > 0
    assert [str(w.message) for w in caught] == []
    assert capsys.readouterr().err == ""
    status = (tmp_path / "run" / "status.json").read_bytes()
    Count.lines = 0
    again = cl_sr.run(**arguments, resume=True, loggers=[Count()], **{"checkpoint.every": 1})
    assert (again.record.state, Count.lines) == ("finished", 0)  # nothing is done again
    assert (tmp_path / "run" / "status.json").read_bytes() == status
    with (
        RunFolder(run.path).lock(),
        pytest.raises(cl_sr.InputError, match="another process is at work"),
    ):
        cl_sr.run(**arguments, resume=True, **{"checkpoint.every": 1})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "demmo"}, "unknown preset 'demmo': did you mean 'demo'"),
        ({"stream": "nope"}, "unknown stream 'nope'"),
        ({"strategy": "replya"}, "unknown strategy 'replya': did you mean 'replay'"),
        ({"strategy": [{"replay": {"siez": 4}}]}, "no option 'siez'"),
        ({"trian.lr": 1}, "unknown key 'trian.lr'"),
        ({"seed": "many"}, "seed='many'"),
        ({"seed": None}, "seed=None"),
        ({"data": "/nowhere"}, "no folder /nowhere/celeba"),
        ({"data": {"celeba": "/nowhere"}}, "/nowhere"),
        ({"config": "nowhere.yaml"}, "cannot read nowhere.yaml"),
        ({"preset": "demo", "config": "c.yaml"}, "use one"),
        ({"resume": True}, "resume needs the folder"),
        ({"resume": True, "overwrite": True, "out": "x"}, "contradict"),
        ({"resume": True, "out": "nowhere"}, "nowhere is not a run"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CL_SR_DATA", raising=False)
    with pytest.raises(cl_sr.InputError) as caught:
        cl_sr.run(**arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("call", [cl_sr.open, cl_sr.load])
def test_a_folder_that_is_none(tmp_path: Path, call: Callable[[Path], Any]) -> None:
    with pytest.raises(cl_sr.InputError):
        call(tmp_path)


def test_importing_it_is_quick_and_shows_its_names() -> None:
    code = "import cl_sr, sys; assert 'torch' not in sys.modules; print(*dir(cl_sr))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert {"run", "open", "load", "Run", "InputError"} <= set(out.split())
