"""Runs that are judged again: the numbers of a run that was planned so from the start."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import TINY
from running import run
from strategy_cases import ALL, TOGETHER

from cl_sr.runs.evaluation import Evaluated, plan_evaluation
from cl_sr.runs.judging import judge

pytestmark = pytest.mark.run

# What must not tell whether a run was judged so from the start.
TABLES = ["matrix.csv", "images.csv", "windows.csv", "metrics.jsonl", "manifest.csv", "config.yaml"]


def found(path: Path) -> dict[str, bytes]:
    """The results in a folder, samples too."""
    samples = [str(p.relative_to(path)) for p in path.glob("samples/*/*.png")]
    return {name: (path / name).read_bytes() for name in (*TABLES, *sorted(samples))}


def judged(path: Path, *overrides: str, overwrite: bool = False, **options: object) -> Evaluated:
    """What `cl-sr eval` does, without its words."""
    plan = plan_evaluation(path, overrides, overwrite=overwrite, **options)  # type: ignore[arg-type]
    if overwrite:
        plan.clear()
    return judge(plan)


def folder_of_all(path: Path) -> dict[str, bytes]:
    """Every file of a run but for its evaluations."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and "evaluations" not in file.parts and file.name != ".lock"
    }


@pytest.fixture(scope="module")
def _once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("judged") / "run"
    run(path, [*TINY, "eval.every=0", "eval.steps=3"])
    return path


@pytest.fixture
def made(_once: Path, tmp_path: Path) -> Path:
    """A finished run that is evaluated with 3 steps: a copy to change."""
    shutil.copytree(_once, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("strategy", [*ALL, *TOGETHER])
def test_every_strategy_is_judged_as_a_run_planned_so(tmp_path: Path, strategy: str) -> None:
    settings = [*TINY, "eval.every=0", f"strategy={strategy}"]
    first = run(tmp_path / "first", [*settings, "eval.steps=3", "eval.images=2"])
    before = folder_of_all(first.path)
    planned = ["eval.steps=2", "eval.sampler=dpmpp-2m", "eval.seed=5", "eval.images=3",
               "eval.metrics=colour_error", "eval.protocol=y601"]  # fmt: skip
    whole = run(tmp_path / "whole", [*settings, *planned])
    again = judged(first.path, *planned)
    assert found(again.path) == found(whole.path)
    assert folder_of_all(first.path) == before


# What draws images while it trains, or chooses by some.
DRAW = [case for case in [*ALL, *TOGETHER] if "generative-distill" in case or "wise-ft" in case]


def weights(path: Path) -> dict[str, bytes]:
    """All that was trained, and all that is remembered."""
    files = [*path.glob("checkpoints/*/model.safetensors"), *path.glob("checkpoints/*/training.*")]
    kept = {str(file.relative_to(path)): file.read_bytes() for file in files}
    for name, content in kept.items():
        if name.endswith(".json"):  # beside what was measured and how long it took
            values = json.loads(content)
            kept[name] = json.dumps([values["memory"], values["numpy"], values["python"]]).encode()
    return kept


@pytest.mark.parametrize("strategy", [*ALL, *TOGETHER])
def test_no_key_of_the_evaluation_changes_a_training(tmp_path: Path, strategy: str) -> None:
    settings = [*TINY, f"strategy={strategy}"]
    plain = weights(run(tmp_path / "plain", settings).path)
    others = ["eval.steps=4", "eval.sampler=ancestral", "eval.seed=7", "eval.metrics=sharpness",
              "eval.eta=0.5", "eval.batch_size=2", "eval.images=5", "eval.protocol=y601",
              "eval.every=0", "eval.samples=0"]  # fmt: skip
    assert weights(run(tmp_path / "other", [*settings, *others]).path) == plain
    assert len(plain) == (3 if "joint" in strategy or "ddnm" in strategy else 6)


@pytest.mark.parametrize(
    ("strategy", "option"),
    [(case, option) for case in DRAW[:2] for option in ("steps=2", "sampler=ancestral")],
)
def test_how_a_strategy_draws_is_an_option_of_its_own(
    tmp_path: Path, strategy: str, option: str
) -> None:
    plain = weights(run(tmp_path / "plain", [*TINY, f"strategy={strategy}"]).path)
    other = weights(run(tmp_path / "other", [*TINY, f"strategy={strategy},{option}"]).path)
    last = "checkpoints/animef/model.safetensors"
    assert other[last] != plain[last]
