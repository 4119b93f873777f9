"""`cl-sr runs`, `cl-sr run --resume`: going on, and seeing what there is."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cl_sr.cli.main import main
from cl_sr.runs.folder import RunFolder
from cl_sr.runs.results import Results

Cli = Callable[..., Result]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CL_SR_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(main, [str(a) for a in arguments], prog_name="cl-sr")

    return call


def set_status(folder: str, **values: object) -> None:
    file = Path(folder) / "status.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.run
def test_auto_starts_once_and_then_goes_on(cli: Cli, tiny: list[str]) -> None:
    command = ["run", *tiny, "--resume", "auto"]
    assert cli(*command).exit_code == 0
    assert [p.name for p in Path("runs").iterdir()] == ["celeba-anime-finetune-seed0"]
    # As a cluster leaves it: killed, its status saying that it runs.
    set_status("runs/celeba-anime-finetune-seed0", state="running", iteration=4)
    before = Path("runs/celeba-anime-finetune-seed0/metrics.jsonl").read_bytes()
    assert "interrupted at 4 of 7" in cli("runs").output
    assert cli(*command).exit_code == 0
    assert len(list(Path("runs").iterdir())) == 1
    assert Path("runs/celeba-anime-finetune-seed0/metrics.jsonl").read_bytes() == before
    # Another configuration is another run.
    set_status("runs/celeba-anime-finetune-seed0", state="interrupted")
    assert cli(*command, "train.lr=0.5e-3", "--seed", 1).exit_code == 0
    assert len(list(Path("runs").iterdir())) == 2


@pytest.mark.run
def test_auto_with_out_is_the_same_command_again_and_again(cli: Cli, tiny: list[str]) -> None:
    command = ["run", *tiny, "--resume", "auto", "--out", "mine"]
    assert cli(*command).exit_code == 0
    again = cli(*command)
    assert again.exit_code == 0
    assert "is finished" in again.stderr
    other = cli(*command, "train.batch_size=3")
    assert other.exit_code == 2
    assert "another configuration (its train.batch_size is" in other.stderr


@pytest.mark.run
def test_a_run_by_name_goes_on_with_its_own_configuration(cli: Cli, tiny: list[str]) -> None:
    assert (
        cli("run", *tiny, "--out", "mine", "--strategy", "timestep-window:stop=500").exit_code == 0
    )
    set_status("mine", state="interrupted")
    result = cli("run", "--resume", "mine")
    assert result.exit_code == 0
    assert "timestep-window:stop=500" in result.output
    for more in (["--seed", 1], ["train.lr=1e-3"], ["--out", "x"]):
        refused = cli("run", "--resume", "mine", *more)
        assert refused.exit_code == 2
        assert "leave out the rest" in refused.stderr
    assert cli("run", "--resume", "nowhere").exit_code == 2
    assert cli("run", "--resume", "auto", "--overwrite").exit_code == 2


@pytest.mark.run
def test_a_run_goes_on_elsewhere(
    cli: Cli, tiny: list[str], image_folder: Callable[..., Path]
) -> None:
    """Its images were moved, and it was begun on a device that is not here."""
    for number, name in enumerate(("celeba", "animef")):
        image_folder(f"old/{name}", 12, seed=number)
    command = ["run", *tiny, "--data", "old", "--out", "mine"]
    assert cli(*command).exit_code == 0
    whole = (Path("mine") / "metrics.jsonl").read_bytes()
    os.rename("old", "new")
    here, there = "device: cpu\n", "device: mps\n"
    config = Path("mine/config.yaml")
    for again in (["--resume", "mine", "--data", "new", "--device", "cpu", "train.workers=1"],
                  [*tiny, "--data", "new", "--resume", "auto", "--out", "mine"]):  # fmt: skip
        shutil.rmtree("mine/checkpoints/animef")
        config.write_text(config.read_text().replace(here, there).replace("/new", "/old"))
        set_status("mine", state="interrupted")
        refused = cli("run", "--resume", "mine")
        assert refused.exit_code == 2
        assert "no folder" in refused.stderr
        result = cli("run", *again)
        assert result.exit_code == 0, result.output
        assert (Path("mine") / "metrics.jsonl").read_bytes() == whole
        assert f"root: {Path('new').absolute()}" in config.read_text()  # cl-sr layers reads there
        assert here in config.read_text()
    image_folder("new/celeba", 13)
    shutil.rmtree("mine/checkpoints/animef")
    set_status("mine", state="interrupted")
    assert "no longer those" in cli("run", "--resume", "mine").stderr


@pytest.mark.run
def test_a_run_in_the_hands_of_another_process_is_left_alone(cli: Cli, tiny: list[str]) -> None:
    assert cli("run", *tiny, "--out", "mine").exit_code == 0
    set_status("mine", state="running", iteration=3)
    with RunFolder(Path("mine")).lock():
        assert "running, 3 of 7" in cli("runs", ".").output
        result = cli("run", "--resume", "mine")
        assert result.exit_code == 2
        assert "another process is at work" in result.stderr
        assert cli("run", *tiny, "--out", "mine", "--overwrite").exit_code == 2
    assert Path("mine/metrics.jsonl").exists()


@pytest.mark.run
def test_the_list_of_runs(cli: Cli, tiny: list[str]) -> None:
    assert cli("runs").exit_code == 2
    assert cli("run", *tiny).exit_code == 0
    assert cli("run", *tiny, "--out", "runs/[b]", "train.lr=1e20", "train.clip=0").exit_code == 2
    (Path("runs") / "broken").mkdir()
    (Path("runs") / "broken" / "status.json").write_text("{}")
    output = cli("runs").output
    assert "finished, 7 iterations" in output
    assert "failed at" in output
    assert "diverged" in output
    assert "[b]" in output
    assert "runs/broken is not a run: it has no config.yaml" in output
    assert "celeba " in output


@pytest.mark.run
def test_a_disk_that_is_full_is_one_line(
    cli: Cli, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    append, lines = Results._append, []

    def full(self: Results, line: str) -> None:
        lines.append(line)
        if len(lines) == 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, line)

    command = ["run", *tiny, "checkpoint.every=1"]
    assert cli(*command, "--out", "whole").exit_code == 0
    monkeypatch.setattr(Results, "_append", full)
    result = cli(*command, "--out", "cut")
    assert result.exit_code == 2
    assert "cannot write to cut: No space left on device" in result.stderr.splitlines()[-1]
    assert cli("run", "--resume", "cut").exit_code == 0
    one, two = (Path(name, "metrics.jsonl").read_bytes() for name in ("whole", "cut"))
    assert one == two


@pytest.mark.run
def test_auto_runs_no_code_of_other_runs(cli: Cli, tiny: list[str]) -> None:
    Path("runs/evil").mkdir(parents=True)
    Path("evil.py").write_text("import os\nos.mkdir('executed')\nraise SystemExit(0)\n")
    evil = "./evil.py"
    config = {"stream": evil, "strategy": [{evil: {"a": 1}}], "model": {"family": evil, "b": 2}}
    Path("runs/evil/config.yaml").write_text(json.dumps(config))
    Path("runs/evil/status.json").write_text('{"state": "interrupted"}')
    assert cli("run", *tiny, "--resume", "auto").exit_code == 0
    assert cli("runs").exit_code == 0
    assert not Path("executed").exists()
    assert len(list(Path("runs").iterdir())) == 2


@pytest.mark.run
def test_auto_tells_settings_apart_that_weights_do_not_bring(cli: Cli, tiny: list[str]) -> None:
    assert cli("run", *tiny, "--out", "runs/a").exit_code == 0
    weights = ["--init", "runs/a/checkpoints/celeba"]
    assert cli("run", *tiny, *weights, "--out", "runs/b").exit_code == 0
    set_status("runs/b", state="interrupted")
    assert cli("run", *tiny, *weights, "diffusion.loss=l1", "--resume", "auto").exit_code == 0
    assert len(list(Path("runs").iterdir())) == 3
    assert cli("run", *tiny, *weights, "--resume", "auto").exit_code == 0
    assert len(list(Path("runs").iterdir())) == 3


@pytest.mark.run
def test_odd_folders_do_not_hide_the_others(cli: Cli, tiny: list[str]) -> None:
    assert cli("run", *tiny, "--out", "runs/good").exit_code == 0
    bomb = "a: &a [x, x]\n" + "".join(f"{k}: &{k} [*a, *a]\n" for k in "bcdefgh")
    for name, status, config in (
        ("deep", "[" * 9999, "{}"),
        ("bomb", '{"state": "running"}', bomb),
        ("odd", '{"state": "failed", "iteration": 1, "of": 2, "reason": "\\ud800"}', "stream: 1"),
    ):
        Path("runs", name).mkdir()
        Path("runs", name, "status.json").write_text(status)
        Path("runs", name, "config.yaml").write_text(config)
    os.mkfifo("runs/status.json")
    result = cli("runs")
    assert result.exit_code == 0
    assert "finished, 7 iterations" in result.output
    rows = {line.split()[1]: line for line in result.output.splitlines() if "│" in line}
    assert "runs/deep/config.yaml is damaged: it has no stream and no strategy" in rows["deep"]
    assert "runs/bomb/config.yaml is not YAML" in rows["bomb"]
    assert "runs/odd/config.yaml is damaged: it has no strategy" in rows["odd"]


def test_ctrl_c_before_there_is_a_run(
    cli: Cli, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cl_sr.runs.loading.load_domain", stop)
    result = cli("run", *tiny)
    assert result.exit_code == 130
    assert "Traceback" not in result.output
    assert not Path("runs").exists()


@pytest.mark.run
@pytest.mark.slow
def test_sigterm_to_all_processes_of_a_run_saves_its_state(tmp_path: Path, tiny: list[str]) -> None:
    """As clusters send it: the workers that load images get it too."""
    arguments = ["run", "--out", "run", *tiny, "train.iterations=100000", "train.workers=2"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from cl_sr.cli.main import main; main()", *arguments],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True,
    )  # fmt: skip
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not (metrics.is_file() and len(metrics.read_text().splitlines()) > 4):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 128 + signal.SIGTERM, output
    assert "Traceback" not in output
    assert list((tmp_path / "run" / "checkpoints").glob("iteration-*/training.json"))
    assert "interrupted" in (tmp_path / "run" / "status.json").read_text()


PLUGINS = {
    "raises.py": ("window", "raise RuntimeError('no idea')", "RuntimeError: no idea", "line 9"),
    "wrong.py": ("window", "return 'all'", "window() must return (start, stop)", "'all'"),
    "empty.py": ("window", "return (5, 5)", "0 <= start < stop", "(5, 5)"),
    "plug.py": ("plugins", "return [3]", "must return a list of Avalanche plugins", "[3]"),
    "plan.py": ("curriculum", "return [('cats',)]", "list of tuples of domains", "cats"),
    "count.py": (
        "curriculum",
        "return [(('animef',), 1.5)]",
        "a whole number of iterations",
        "1.5",
    ),
    "experts.py": ("experts", "return 1", "experts() must return an object", "not 1"),
    "exit.py": ("window", "raise SystemExit(0)", "SystemExit: 0", "exit.py, line 9"),
    "list.py": ("curriculum", "return [(['a'],)]", "list of tuples of domains", "['a']"),
    "late.py": ("end", "return 1 / 0", "ZeroDivisionError", "late.py, line 9"),
    # Hooks of old: what took their place is told.
    "budget.py": ("budget", "return 1", "Mine.budget is no hook any more", "use curriculum"),
    "restore.py": ("restore", "return 1", "Mine.restore is no hook any more", "use experts"),
    "sampler.py": ("sampler", "return None", "no hook any more", "traits (zero_shot=...)"),
    "model.py": ("model", "return None", "no hook any more", "use model.family"),
    "traits.py": ("traits", "return None", "traits must be Traits"),
}


LATE = ("plug.py", "experts.py", "late.py")  # told when the run has begun


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.run] if n in LATE else []) for n in PLUGINS]
)
def test_a_strategy_of_ones_own_that_fails_is_one_line(
    cli: Cli, tiny: list[str], name: str
) -> None:
    hook, body, *messages = PLUGINS[name]
    Path(name).write_text(
        "from dataclasses import dataclass\n"
        "from cl_sr.strategies import Strategy\n\n\n"
        "@dataclass(frozen=True)\n"
        "class Mine(Strategy):\n"
        "    '''Mine.'''\n"
        f"    def {hook}(self, *arguments):\n"
        f"        {body}\n"
    )
    result = cli("run", *tiny, "--strategy", f"./{name}")
    assert result.exit_code == 2, result.output
    for message in messages:
        assert message in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.output


@pytest.mark.run
def test_a_strategy_of_ones_own(cli: Cli, tiny: list[str]) -> None:
    Path("mine.py").write_text(
        "from dataclasses import dataclass\n"
        "from cl_sr.strategies import Strategy\n"
        "from cl_sr.strategies.base import option\n\n\n"
        "@dataclass(frozen=True)\n"
        "class First(Strategy):\n"
        "    '''One.'''\n\n"
        "@dataclass(frozen=True)\n"
        "class Second(Strategy):\n"
        "    '''Two.'''\n"
        "    stop: int = option(100, 'where')\n"
        "    def window(self, experience, steps):\n"
        "        return 0, self.stop\n"
    )
    assert cli("run", *tiny, "--strategy", "./mine.py:Second:stop=50", "--out", "a").exit_code == 0
    for text, message in (
        ("./mine.py", "name one as"),
        ("./mine.py:Third", "no strategy 'Third'"),
        ("./mine.py:Second:stp=1", "did you mean 'stop'"),
        ("./absent.py", "no file"),
    ):
        result = cli("run", *tiny, "--strategy", text)
        assert result.exit_code == 2
        assert message in result.stderr
    Path("shadow.py").write_text(
        "from dataclasses import dataclass\nfrom cl_sr.strategies import Strategy\n"
        "@dataclass(frozen=True)\nclass Joint(Strategy):\n    '''Mine.'''\n"
    )
    result = cli("run", *tiny, "--strategy", "./shadow.py")
    assert result.exit_code == 2
    assert "'joint' is a shipped strategy" in result.stderr


@pytest.mark.run
def test_any_terminal_shows_any_name(tmp_path: Path, tiny: list[str]) -> None:
    """Bytes that are no UTF-8 in a path, and terminals that cannot show what a report has."""
    name = os.fsdecode(b"caf\xe9\xff")

    def call(encoding: str, *arguments: str) -> str:
        result = subprocess.run(
            [sys.executable, "-m", "cl_sr", *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONIOENCODING": encoding},
            capture_output=True,
        )
        assert result.returncode == 0, result.stderr
        assert b"Traceback" not in result.stderr
        return result.stdout.decode(encoding.partition(":")[0])

    assert "PSNR" in call("ascii:strict", "run", *tiny, "--out", f"runs/{name}")
    assert (tmp_path / "runs" / name / "report.html").is_file()
    for encoding in ("ascii", "cp1252:strict", "utf-8:strict"):
        assert "PSNR" in call(encoding, "report", f"runs/{name}")
        assert "caf" in call(encoding, "runs")
