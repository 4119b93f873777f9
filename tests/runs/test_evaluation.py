"""Runs that are judged again: the numbers of a run that was planned so from the start."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from conftest import TINY
from PIL import Image
from running import Cut, run
from strategy_cases import ALL, TOGETHER

import cl_sr
from cl_sr.avalanche import BaseLogger
from cl_sr.errors import InputError
from cl_sr.evaluation.draws import draws_from_csv
from cl_sr.evaluation.matrix import BICUBIC
from cl_sr.reporting import build_report, publish_run
from cl_sr.runs.evaluation import Evaluated, EvaluationFolder, plan_evaluation, unfinished
from cl_sr.runs.judging import judge
from cl_sr.runs.record import files_tested

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


# And others that have weights, images or answers of their own.
SOME = [*DRAW, "finetune", "replay:size=6", "router:rank=2", "ewc:samples=3", "ddnm:steps=2"]


@pytest.mark.parametrize("strategy", SOME)
def test_no_key_of_the_evaluation_changes_a_training(tmp_path: Path, strategy: str) -> None:
    settings = [*TINY, f"strategy={strategy}"]
    plain = weights(run(tmp_path / "plain", settings).path)
    others = ["eval.steps=4", "eval.sampler=ancestral", "eval.seed=7", "eval.metrics=sharpness",
              "eval.eta=0.5", "eval.batch_size=2", "eval.images=5", "eval.protocol=y601",
              "eval.every=0", "eval.samples=0"]  # fmt: skip
    assert weights(run(tmp_path / "other", [*settings, *others]).path) == plain
    assert len(plain) == (6 if "joint" in strategy or "ddnm" in strategy else 9)


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


def test_a_state_alone_then_all(made: Path) -> None:
    whole = found(judged(made, "eval.steps=2", name="whole").path)
    before = judged(made, "eval.steps=2", name="parts", after="animef")
    assert list(before.matrices[0].rows) == ["bicubic", "animef"]
    assert before.matrices[0].rows["animef"] == Evaluated(made, "whole").matrices[0].rows["animef"]
    parts = judged(made, "eval.steps=2", name="parts")
    assert list(parts.matrices[0].rows) == ["bicubic", "init", "celeba", "animef"]
    assert found(parts.path) == whole


@pytest.mark.parametrize("moment", range(1, 7))
def test_an_evaluation_that_is_killed_goes_on(
    made: Path, moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each domain of each state; what is whole is not judged again."""
    options = ["eval.steps=2", "eval.draws=2"]
    whole = found(judged(made, *options, name="whole").path)
    told: list[str] = []

    class Kill(BaseLogger):
        def after_eval_exp(self, template: Any, metric_values: list[Any]) -> None:
            told.append(template.trained_on)
            if len(told) == moment:
                raise SystemExit(9)

    plan = plan_evaluation(made, options, name="cut")
    with pytest.raises(SystemExit):
        judge(plan, loggers=[Kill()])
    kept = EvaluationFolder(plan.path).states
    assert kept == ["init", "celeba", "animef"][: (moment - 1) // 2]
    assert "it goes on by" in unfinished(Evaluated(made, "cut"))
    told.clear()
    moment = 0  # no more
    cut = judge(plan, loggers=[Kill()])
    assert told == [state for state in ("init", "celeba", "animef") if state not in kept
                    for _ in range(2)]  # fmt: skip
    assert found(cut.path) == whole
    assert (cut.path / "draws.csv").read_bytes() == (
        made / "evaluations/whole/draws.csv"
    ).read_bytes()
    assert not unfinished(cut)


def test_what_is_there_is_left_as_it_is(made: Path) -> None:
    again = judged(made, "eval.steps=2")
    assert again.name == "steps-2"
    files = {path: path.stat().st_mtime_ns for path in again.path.rglob("*") if path.is_file()}
    judged(made, "eval.steps=2", "device=cpu", "eval.samples=1")
    assert files == {path: path.stat().st_mtime_ns for path in files}
    with pytest.raises(
        InputError, match=r"eval\.steps is 2, not 4\): choose another --name, or add"
    ):
        plan_evaluation(made, ["eval.steps=4"], name="steps-2")
    other = judged(made, "eval.steps=4", name="steps-2", overwrite=True)
    assert other.settings["eval"]["steps"] == 4
    assert {line["steps"] for line in other.metrics} == {4}


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "again"),
        (["eval.steps=null", "eval.sampler=ancestral"], "steps-all-sampler-ancestral"),
        (["eval.metrics=colour_error,psnr"], "metrics-psnr-ssim-colour_error"),
        (["eval.split=validation"], "split-validation"),
        (["device=cpu", "train.precision=fp32"], "precision-fp32"),
    ],
)
def test_it_is_called_by_what_is_asked_for(made: Path, overrides: list[str], name: str) -> None:
    assert plan_evaluation(made, overrides).name == name


def test_a_run_that_is_not_finished_is_judged_as_far_as_it_is_saved(
    tmp_path: Path, tiny: list[str]
) -> None:
    settings = [*tiny, "eval.every=0"]
    with pytest.raises(SystemExit):
        run(tmp_path / "run", settings, plugins=[Cut("before_training_iteration", 5)])
    plan = plan_evaluation(tmp_path / "run", ["eval.steps=3"])
    assert plan.states == ["init", "celeba"]
    assert "is not finished (failed at iteration" in plan.notes[0]
    assert "what is saved is judged, after celeba" in plan.notes[0]
    again = judge(plan)
    whole = run(tmp_path / "whole", [*settings, "eval.steps=3"])
    assert again.matrices[0].rows == {
        row: values for row, values in whole.matrices[0].rows.items() if row != "animef"
    }
    assert unfinished(again).startswith("Unfinished run: failed at iteration")


def test_a_memory_that_is_lost_is_told(tmp_path: Path, tiny: list[str]) -> None:
    """Without it a router would restore all images by one expert."""
    for strategy in ("router:rank=2", "finetune"):
        path = tmp_path / strategy[:6]
        run(path, [*tiny, "eval.every=0", f"strategy={strategy}"])
        for file in path.glob("checkpoints/animef/training.*"):
            file.unlink()
    assert judged(tmp_path / "finetu", "eval.steps=3").about["state"] == "finished"
    with pytest.raises(InputError, match=r"has lost training\.json, and with it what router"):
        judged(tmp_path / "router", "eval.steps=3")
    assert Evaluated(tmp_path / "router", "steps-3").about["states"] == ["init", "celeba"]


def test_the_start_is_left_out_where_it_cannot_be_known(made: Path) -> None:
    environment = json.loads((made / "env.json").read_text())
    environment["packages"]["torch"] = "1.0"
    (made / "env.json").write_text(json.dumps(environment))
    plan = plan_evaluation(made, ["eval.steps=2"])
    assert plan.states == ["celeba", "animef"]
    why = f"torch 1.0 drew the first weights, and this is {version('torch')}"
    assert plan.notes == [f"before training is left out: {why}"]
    assert list(judge(plan).matrices[0].rows) == ["bicubic", "celeba", "animef"]


def test_a_run_whose_first_weights_are_gone_is_judged_all_the_same(
    made: Path, tmp_path: Path, tiny: list[str]
) -> None:
    settings = [*tiny, "eval.every=0", "train.iterations=[0,3]"]
    start = tmp_path / "start"
    shutil.copytree(made / "checkpoints/celeba", start)
    run(tmp_path / "member", [*settings, f"init={start}"])
    whole = run(tmp_path / "whole", [*settings, f"init={start}", "eval.steps=3"])
    known = judged(tmp_path / "member", "eval.steps=3")
    assert found(known.path) == found(whole.path)
    shutil.rmtree(start)
    plan = plan_evaluation(tmp_path / "member", ["eval.steps=3"], name="later")
    assert "are gone" in plan.notes[0]
    later = judge(plan)
    rows = whole.matrices[0].rows
    assert later.matrices[0].rows == {row: rows[row] for row in ("bicubic", "celeba", "animef")}
    assert later.config["init"] == str(start)


@pytest.fixture
def folders(image_folder: Callable[..., Path], tmp_path: Path) -> Path:
    image_folder("data/celeba", 20, seed=1)
    image_folder("data/animef", 20, seed=2)
    return tmp_path / "data"


def test_images_that_have_moved_are_the_same_images(
    folders: Path, tmp_path: Path, tiny: list[str]
) -> None:
    settings = [*tiny, "eval.every=0", "eval.images=2"]
    run(tmp_path / "run", [*settings, f"data.root={folders}"])
    whole = run(tmp_path / "whole", [*settings, f"data.root={folders}", "eval.images=4"])
    folders.rename(tmp_path / "moved")
    with pytest.raises(InputError, match="give --data celeba=DIR"):
        plan_evaluation(tmp_path / "run")
    again = judged(tmp_path / "run", "eval.images=4", data=[str(tmp_path / "moved")])
    assert again.name == "images-4"
    assert not again.elsewhere
    for name in ("matrix.csv", "images.csv", "windows.csv", "manifest.csv"):
        assert (again.path / name).read_bytes() == (whole.path / name).read_bytes()
    changed = next((tmp_path / "moved").rglob(files_tested(whole)["celeba"][1][0]))
    Image.new("RGB", (24, 20)).save(changed)
    with pytest.raises(InputError, match="is no longer the image that it was"):
        judged(tmp_path / "run", "eval.images=3", data=[str(tmp_path / "moved")])


def test_other_images_are_split_as_a_run_splits_them(
    folders: Path, image_folder: Callable[..., Path], tmp_path: Path, tiny: list[str]
) -> None:
    settings = [*tiny, "eval.every=0"]
    made = run(tmp_path / "run", [*settings, f"data.root={folders}"])
    others = image_folder("cats", 20, seed=3)
    data = [str(folders), f"celeba={others}"]
    plan = plan_evaluation(made.path, data=data)
    assert plan.notes == [
        f"other images than the run's own: the test side of {others} and {folders / 'animef'}"
    ]
    again = judge(plan)
    assert again.name == "data-data"
    assert again.elsewhere == [str(others), str(folders / "animef")]
    there = run(tmp_path / "there", [*settings, f"data.root={folders}",
                                     f"data.folders.celeba={others}"])  # fmt: skip
    assert files_tested(again) == files_tested(there)
    place = BICUBIC, "celeba"
    assert again.images[place] == there.images[place] != made.images[place]
    # Images of animef are the run's own: in numbers, too.
    ours = [[record.matrices[0].rows[row]["animef"] for row in ("init", "animef")]
            for record in (again, made)]  # fmt: skip
    assert ours[0] == ours[1]
    assert again.hashes["celeba"][0] == made.hashes["celeba"][0]


def test_images_that_were_trained_on_are_told(
    folders: Path, tmp_path: Path, tiny: list[str]
) -> None:
    made = run(tmp_path / "run", [*tiny, "eval.every=0", f"data.root={folders}"])
    with pytest.warns(
        UserWarning, match="3 of the 3 images of celeba are among those that the run"
    ):
        again = judged(made.path, "eval.split=validation")
    assert again.environment["data"]["celeba"]["leaked"] == 3
    careful = run(tmp_path / "careful", [*tiny, "eval.every=0", f"data.root={folders}",
                                         "eval.split=validation"])  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        final = judged(careful.path, "eval.split=test")
    assert files_tested(final) == files_tested(made)


def test_draws_are_averaged_image_by_image(made: Path) -> None:
    several = judged(made, "eval.draws=3", "eval.batch_size=2", "eval.samples=3")
    plain = judged(made, "eval.batch_size=2", "eval.samples=3")
    samples = [
        {p.name: p.read_bytes() for p in record.path.glob("samples/*/*.png")}
        for record in (several, plain)
    ]
    assert samples[0] == samples[1]  # those of the first draw
    draws = draws_from_csv((several.path / "draws.csv").read_text())
    assert draws.keys() == {place for place in several.images if place[0] != BICUBIC}
    for place, metrics in draws.items():
        for metric, images in metrics.items():
            assert [len(values) for values in images] == [3, 3, 3]
            assert [values[0] for values in images] == plain.images[place][metric]
            assert [fmean(values) for values in images] == several.images[place][metric]
            assert len({value for values in images for value in values}) == 9
    celeba = several.matrices[0].rows["animef"]["celeba"]
    assert celeba == pytest.approx(fmean(several.images["animef", "celeba"]["psnr"]), abs=1e-12)
    text = build_report(several).markdown([], "")
    assert "Spread of an image's 3 draws, standard deviation" in text
    assert "noise seeds from 0, mean of 3 draws an image" in text
    assert not (plain.path / "draws.csv").exists()


def test_the_report_is_of_the_evaluation(made: Path) -> None:
    report = build_report(judged(made, "eval.steps=2", "eval.protocol=y601", name="mine"))
    assert report.title.endswith("evaluation mine")
    assert report.protocol.startswith("Protocol y601")
    assert "sampler ddim, 2 of 2000 steps" in report.protocol
    before = folder_of_all(made)
    publish_run(report)
    assert folder_of_all(made) == before
    text = (made / "evaluations/mine/report.md").read_text()
    assert (
        f"Repeat this run: `cl-sr eval {made} eval.steps=2 eval.protocol=y601 --name=mine`" in text
    )


def test_python_judges_too(made: Path) -> None:
    found = cl_sr.open(made).evaluate("celeba", steps=2, sampler="dpmpp-2m", metrics=["sharpness"])
    assert list(found.matrices[0].rows) == ["bicubic", "celeba"]
    assert [matrix.metric for matrix in found.matrices] == ["psnr", "ssim", "sharpness"]
    assert found.path.name == "steps-2-sampler-dpmpp-2m-metrics-psnr-ssim-sharpness"
