"""Strategies and streams of installed packages and of files, as their users would call them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cl_sr.cli.main import main
from cl_sr.config import resolve
from cl_sr.plugins import installed as find_installed
from cl_sr.strategies import Does, Experts, Strategy, spell
from cl_sr.yaml_text import parse_yaml

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "tests" / "example_plugin"


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the third party's package is installed in."""
    target = tmp_path_factory.mktemp("installed")
    source = tmp_path_factory.mktemp("source")  # building leaves files behind
    shutil.copytree(PACKAGE, source, dirs_exist_ok=True)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True)
    return target


def cl_sr(folder: Path, *arguments: str, path: Path | None = None) -> tuple[int, str, str]:
    """Call the command in a process of its own."""
    environment = os.environ | {"COLUMNS": "100", "OMP_NUM_THREADS": "1"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    code = "from cl_sr.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.run
def test_a_package_is_used_by_name(installed: Path, tmp_path: Path, tiny: list[str]) -> None:
    run = ["run", "--stream", "anime-celeba", "--strategy", "mirror-only:count=2", "--out", "run"]
    code, _, errors = cl_sr(tmp_path, *run, *tiny, path=installed)
    assert code == 0, errors
    saved = json.loads((tmp_path / "run/checkpoints/celeba/training.json").read_text())
    assert saved["memory"] == {"0-mirror-only/batches": 7}
    config = (tmp_path / "run/config.yaml").read_text()
    assert "strategy:\n- mirror-only:\n    count: 2\n" in config


def test_it_is_listed(installed: Path, tmp_path: Path) -> None:
    _, out, _ = cl_sr(tmp_path, "list", path=installed)
    assert "mirror-only" in out
    assert "anime-celeba" in out
    _, out, _ = cl_sr(tmp_path, "list", "strategies", "mirror-only", path=installed)
    assert "count=1" in out
    assert "images of a batch that are replaced" in out


def test_choices_of_an_option_are_listed() -> None:
    result = CliRunner().invoke(main, ["list", "strategies", "distill"])
    assert "(new or past or all)" in " ".join(result.stdout.split())


@pytest.mark.run
@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("mirror-only:count=many", "count='many'"),
        ("mirror-only:size=3", "no option 'size'"),
        ("mirror-onl", "did you mean 'mirror-only'"),
        ("broken", r"example_plugin_that_is_not_there.*cannot be imported"),
        ("no-strategy", "is not a class derived from"),
        (
            "mirror-only:count=11",
            r"strategy mirror-only: .*mirrors\.py, line \d+: ValueError: too many mirrors",
        ),
        ("mirror-only:count=4", "leave no room for new images"),
        ("mirror-only+mirror-only", "given twice"),
        ("lora+mirror-only+router", "both decide the weights at inference|cannot work together"),
    ],
)
def test_what_is_wrong_with_it_is_told_in_a_line(
    installed: Path,
    tmp_path: Path,
    tiny: list[str],
    monkeypatch: pytest.MonkeyPatch,
    strategy: str,
    message: str,
) -> None:
    monkeypatch.syspath_prepend(installed)
    monkeypatch.chdir(tmp_path)
    find_installed.cache_clear()
    try:
        result = CliRunner().invoke(main, ["run", "--strategy", strategy, *tiny])
    finally:
        find_installed.cache_clear()
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.stderr
    assert re.search(message, result.stderr.splitlines()[-1])


DOCUMENT = (ROOT / "docs" / "strategies.md").read_text()


def documented(language: str) -> str:
    """The first block of code in a language that the documentation shows."""
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)[0]


@pytest.mark.run
def test_the_documented_strategy_works(
    tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = documented("python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    (tmp_path / "anchor.py").write_text(code)
    plain = ["run", "--strategy", "finetune", "--out", "plain", *tiny]
    anchored = ["run", "--strategy", "./anchor.py:strength=1e6", "--out", "anchored", *tiny]
    for arguments in (plain, anchored):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.stderr

    def moved(run: str) -> float:
        from cl_sr.models import load_sr3

        nets = [load_sr3(tmp_path / run / "checkpoints" / d) for d in ("celeba", "animef")]
        old, new = (net.state_dict() for net in nets)
        return sum(float((new[name] - old[name]).square().sum()) for name in new)

    assert 0 < moved("anchored") < 0.5 * moved("plain")


def test_the_documented_strategy_is_refused_beside_what_is_documented(
    tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("anchor.py").write_text(documented("python"))
    arguments = ["run", "--strategy", "./anchor.py", "--strategy", "lora", *tiny, "--dry-run"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2, result.output
    assert "lora and anchor cannot work together" in result.stderr.splitlines()[-1]


def test_the_documented_list_is_the_documented_text() -> None:
    values = parse_yaml(documented("yaml"))
    (text,) = re.findall(r"`--strategy (timestep-window\S*)`", DOCUMENT)
    (override,) = re.findall(r"`(strategy\.\S*)`", DOCUMENT)
    assert spell(resolve(values).strategy) == text
    assert spell(resolve(values, [override]).strategy) == text.replace("500", "300")


def test_every_hook_and_what_is_said_of_others_is_documented() -> None:
    hooks = {name for name in vars(Strategy) if not name.startswith("_")} - {"title"}
    rows = re.findall(r"^\|[^|]*\| (`[^|]*) \|", DOCUMENT, re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(hooks)
    told = " ".join(re.findall(r"`([^`]*)`", DOCUMENT))
    for name in ("route", "at", "weights", "extra_parameters"):
        assert hasattr(Experts, name)
        assert re.search(rf"\b{name}\b", told)
    for name in re.findall(r"\b[A-Z]+_[A-Z_]+\b", told):
        assert name in Does.__members__


def test_the_documented_refusal_is_the_one_that_is_given(
    tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (refusal,) = re.findall(r"`(Mine\.denoiser [^`]*)`", DOCUMENT)
    code = documented("python").replace("Anchor", "Mine").replace("def begin(", "def denoiser(")
    Path("mine.py").write_text(code)
    result = CliRunner().invoke(main, ["run", "--strategy", "./mine.py", *tiny, "--dry-run"])
    assert result.exit_code == 2, result.output
    assert f"{refusal} (docs/strategies.md)" in result.stderr.splitlines()[-1]
