"""What is refused is told in one line, before anything heavy is imported: by `cl-sr run`, `eval`,
`infer` and `export`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from cl_sr.config import read_preset, resolve
from cl_sr.diffusion import Sampling
from cl_sr.models.description import STATE_FORMAT, TENSORS, VALUES, WEIGHTS, Description
from cl_sr.runs.evaluation import EvaluationFolder, plan_evaluation
from cl_sr.runs.folder import RunFolder

HEAVY = ("torch", "torchvision", "avalanche", "matplotlib")

FURTHER = ["--stream", "celeba-anime-df2k"]
# What is typed after `cl-sr run`, and what is told of it.
CASES: dict[str, tuple[list[str], str]] = {
    # Names
    "stream": (["--stream", "celeba-anim"], "did you mean 'celeba-anime'?"),
    "file of a stream": (["--stream", "./nowhere.py"], "no file"),
    "preset": (["--preset", "dmo"], "unknown preset 'dmo': did you mean 'demo'?"),
    "configuration": (["--config", "nowhere.yaml"], "cannot read nowhere.yaml"),
    "key": (["train.iteration=3"], "unknown key 'train.iteration': did you mean 'train.iter"),
    "value": (["train.lr=fast"], "train.lr='fast'"),
    "metric": (["eval.metrics=psnr,lpisp"], "unknown metric 'lpisp': did you mean 'lpips'?"),
    "domain": (["data.shares.cats=0.5"], "data.shares.cats: celeba-anime has no domain 'cats'"),
    "family": (["model.family=sr4"], "unknown family 'sr4': did you mean 'sr3'?"),
    # Strategies
    "strategy": (["--strategy", "finetun"], "unknown strategy 'finetun': did you mean 'finetune'?"),
    "no strategy": (["--strategy", ""], "strategy '' lacks a name: write finetune, or"),
    "one of several": (["--strategy", "replay", "--strategy", "nope"], "unknown strategy 'nope'"),
    "one that is empty": (["--strategy", "replay", "--strategy", ""], "'replay+' lacks a name"),
    "file of a strategy": (["--strategy", "./nowhere.py"], "no file"),
    "option": (
        ["--strategy", "timestep-window:end=3"],
        "strategy timestep-window has no option 'end'",
    ),
    "option of none": (["strategy.replay.size=3"], "replay is not among the strategies (finetune)"),
    "option's value": (["--strategy", "replay:size=many"], "strategy replay: size='many'"),
    "option's range": (["--strategy", "replay:size=0"], "size=0 must be at least 1"),
    "option of a list": (
        ["strategy=[{replay: {siez: 4}}]"],
        "strategy replay has no option 'siez': did you mean 'size'?",
    ),
    "twice": (["--strategy", "replay", "--strategy", "replay"], "strategy replay is given twice"),
    "conflict": (
        ["--strategy", "lora", "--strategy", "ewc"],
        "strategies lora and ewc cannot work together: every domain has weights of its own, and "
        "ewc would hold them",
    ),
    "alone": (["--strategy", "joint+replay"], "strategies joint and replay cannot work together"),
    "no past": (["--strategy", "distill:on=past"], "without images of the past"),
    "plugin": (["--strategy", "avalanche:RepalyPlugin"], "did you mean 'ReplayPlugin'?"),
    "prior": (["--strategy", "ddnm:prior=nowhere.pt"], "strategy ddnm: no file"),
    "schedule of a prior": (
        ["--strategy", "ddnm:prior=some/letter.txt,arguments=noise_schedule=cosin"],
        "noise_schedule='cosin': did you mean 'cosine'?",
    ),
    "arguments of no prior": (
        ["--strategy", "ddnm:arguments=num_heads=1"],
        "arguments are of a prior's file: give prior=FILE",
    ),
    "pattern": (["--strategy", "lora:where=("], "strategy lora: where=("),
    # Data
    "folder": (["--data", "nowhere"], "for the domain celeba: give --data celeba=DIR"),
    "folder of a domain": (["--data", "celeba=some/celeba"], "no folder for the domain animef"),
    "folder without images": (
        ["--data", "some"],
        "some/animef: no images (jpg, png, webp, bmp, tif) for the domain animef: give another "
        "with --data animef=DIR",
    ),
    "scale": (["data.scale=5"], "data.scale=5 does not divide data.size=32: take data.size=35"),
    "scale of one side": (
        ["data.size=[32,50]"],
        "data.scale=4 does not divide data.size=[32,50]: take data.size=[32,52]",
    ),
    "small side": (["data.size=[8,32]"], "data.size=[8,32] is too small: SSIM needs at least 11"),
    "three sides": (
        ["data.size=[32,32,32]"],
        "data.size=[32, 32, 32]: has the wrong type or value",
    ),
    "no number of pixels": (["data.size=0"], "data.size=0: has the wrong type or value"),
    "degradation": (["data.kernel=bicubik"], "'bicubik': did you mean 'bicubic'?"),
    "one of few": (["diffusion.schedule=foo"], "choose 'linear', 'cosine' or 'init'"),
    "place": (["--out", "/proc/x"], "cannot write to /proc: choose another --out"),
    # Sizes and numbers
    "channels": (["model.inner_channel=33"], "the keys model.* make no net: inner_channel 33"),
    "groups": (["model.norm_groups=7"], "norm_groups 7"),
    "halvings": (["model.channel_mults=[1,1,1,1,1,1,1]"], "image_size 32 must be a multiple of 64"),
    "halvings of a side": (
        ["data.size=[32,36]", "model.channel_mults=[1,1,1,1]"],
        "image_size 32x36 must be a multiple of 8",
    ),
    "window": (
        ["--strategy", "timestep-window:stop=3000"],
        "window 0-3000 is empty or not within 0..2000",
    ),
    "window of a list": (
        ["strategy=[{timestep-window: {start: 5, stop: 5}}]"],
        "window 5-5 is empty or not within 0..2000",
    ),
    "sampling": (["eval.steps=2001"], "eval.steps=2001 is more than the 2000 of diffusion.steps"),
    "sampling of a prior": (["--strategy", "ddnm:steps=2001"], "steps=2001 must be in 1..2000"),
    "schedule": (["diffusion.start=0.9"], "the keys diffusion.* make no noise schedule"),
    "iterations": (["train.iterations=[1,2,3]"], "train.iterations=[1, 2, 3]"),
    "no iterations": (["train.iterations=[0,0]"], "and not only zeros"),
    "room": (["--strategy", "replay", "train.batch_size=1"], "no room for images of the past"),
    # Weights to start from
    "init": (["--init", "nowhere.pth"], "nowhere.pth: no weights here"),
    "optimizer": (
        ["--init", "I9_E1_opt.pth"],
        "is the state of an optimizer: give I9_E1_gen.pth beside it",
    ),
    "folder without weights": (["--init", "some"], "some: no weights here"),
    "no checkpoint": (["--init", "other"], "other is not a cl-sr checkpoint"),
    "init of another size": (
        ["--init", "weights"],
        "weights was trained at 16 pixels, and this run is at data.size=32: set data.size=16",
    ),
    "init of another shape": (
        ["--init", "weights", "data.size=[16,32]"],
        "weights was trained at 16 pixels, and this run is at data.size=[16,32]: set data.size=16",
    ),
    "init of another scale": (
        ["--init", "weights/model.safetensors", "data.size=16"],
        "was trained for scale 8, and this run is at data.scale=4: set data.scale=8",
    ),
    "init of fewer steps": (
        ["--init", "weights", "data.size=16", "data.scale=8", "eval.steps=101"],
        "eval.steps=101 is more than the 100 of",
    ),
    "window of an init": (
        ["--init", "weights", "data.size=16", "data.scale=8", "--strategy", "timestep-window"],
        "window 0-200 is empty or not within 0..100",
    ),
    "prior for an init": (["--init", "prior"], "it is a prior for --strategy ddnm:prior=FILE"),
    "init for ddnm": (["--init", "weights", "--strategy", "ddnm"], "ddnm:prior=FILE, not by"),
    "schedule of no init": (["diffusion.schedule=init"], "init=FILE"),
    # Places
    "full place": (["--out", "some"], "some is not empty: choose another --out"),
    "no run there": (["--out", "some", "--overwrite"], "--overwrite replaces runs only"),
    "file": (["--out", "some/letter.txt"], "is a file: choose another --out"),
    "resume": (["--resume", "some"], "some is not a run: it has no config.yaml"),
    # Going on with a finished run
    "nothing to go on with": (["--continue", "some"], "some is not a run: it has no config.yaml"),
    "a sweep": (["--continue", "swept"], "swept is a sweep of many runs: name one of them, swept/"),
    "unfinished": (
        [*FURTHER, "--continue", "going"],
        "going is not finished: go on with it first (cl-sr run --resume going)",
    ),
    "unfinished and longer": (["--resume", "going", "train.iterations=[4,9]"], "is not finished"),
    "two configurations": (["--continue", "done", "--preset", "demo"], "its own configuration"),
    "resume and continue": (
        ["--continue", "done", "--resume", "done"],
        "when it is finished (--continue done)",
    ),
    "nothing new": (["--continue", "done"], "done has learnt all this: give the last domain more"),
    "as many": (
        ["--resume", "done", "train.iterations=[4,2]"],
        "done has learnt all this: give the last domain more iterations (train.iterations=[4,2] so",
    ),
    "fewer": (
        ["--resume", "done", "train.iterations=[4,1]"],
        "done has learnt animef for 2 iterations, and 1 are asked for",
    ),
    "more of an earlier one": (
        ["--resume", "done", "train.iterations=9"],
        "done has learnt celeba for 4 iterations, and 9 are asked for: only what it learnt last "
        "can be lengthened, and nothing shortened; begin with train.iterations=[4,2]",
    ),
    "fewer, and further": (
        ["--continue", "done", *FURTHER, "train.iterations=[4,1,3]"],
        "done has learnt animef for 2 iterations, and 1 are asked for",
    ),
    "iterations of too many": (
        ["--continue", "done", *FURTHER, "train.iterations=[4,2,3,3]"],
        "at most one number for each of the stream's 3 domains",
    ),
    "another stream": (
        ["--continue", "done", "--stream", "celeba-df2k"],
        "the stream celeba-df2k (celeba, df2k-ost) does not begin with the domains of done "
        "(celeba, animef)",
    ),
    "another rate": (
        ["--continue", "done", *FURTHER, "train.lr=0.5"],
        "a run that goes on from done has its settings (its train.lr is 0.0005, not 0.5)",
    ),
    "another model": (
        ["--continue", "done", *FURTHER, "model.inner_channel=64"],
        "(its model.inner_channel is 32, not 64)",
    ),
    "another strategy": (
        ["--continue", "done", *FURTHER, "--strategy", "ewc"],
        "(its strategy is finetune, not ewc)",
    ),
    "another size": (["--resume", "done", "train.iterations=[4,9]", "data.size=16"], "data.size"),
    "another share": (
        ["--continue", "done", *FURTHER, "data.shares.celeba=0.5"],
        "(its data.shares.celeba is 1.0, not 0.5)",
    ),
    "no data of a further one": (
        ["--continue", "done", *FURTHER, "--data", "df2k-ost=some"],
        "no folder for the domain celeba: give --data celeba=DIR",
    ),
    "onto itself": (
        ["--continue", "done", *FURTHER, "--out", "done", "--overwrite"],
        "done is the folder of the run to go on from",
    ),
    "into itself": (["--continue", "done", *FURTHER, "--out", "done/more"], "choose another --out"),
    "all at once": (
        ["--continue", "joint", *FURTHER],
        "strategy joint does not learn one domain after the other",
    ),
    "no checkpoint to judge by": (
        ["--continue", "hollow", *FURTHER],
        "hollow/checkpoints/celeba is damaged",
    ),
    "no checkpoint to begin at": (
        ["--resume", "hollow", "train.iterations=[4,9]"],
        "hollow has no sound checkpoint of before the end of animef",
    ),
    "no list of images": (["--continue", "bare", *FURTHER], "bare is damaged: it has no manifest"),
}
# Of other commands, with their names.
INFER, HUB = ["infer", "-i", "some/celeba", "-o", "large", "--weights"], "hf:owner/name"
CASES |= {
    "export of no run": (["export", "some", "--to", "out"], "some is not a run"),
    "export of nothing": (["export", "begun", "--to", "out"], "begun has no checkpoint"),
    "export of a state": (["export", "begun", "--to", "out", "--after", "x"], "no checkpoint 'x'"),
    "licence": (["export", "begun", "--to", "out", "--license", "My own"], "give an identifier"),
    "export to no place": (["export", "done", "--to", "hf:owner"], "write hf:owner/name"),
    "export without a token": (["export", "done", "--to", HUB], "needs a token: log in with"),
    "export to a full place": (["export", "done", "--to", "some"], "some is not empty: choose"),
    "export to a file": (["export", "done", "--to", "some/letter.txt"], "letter.txt is a file"),
    "export into the run": (["export", "done", "--to", "done/out"], "is inside the run"),
    "weights that are no place": ([*INFER, "hf:owner"], "write hf:owner/name"),
    "weights without a network": ([*INFER, HUB], "the hub cannot be reached for hf:owner/name"),
    "weights that are not there": ([*INFER, "nowhere"], "no folder nowhere"),
    "facts that are none": ([*INFER, "some", "groups"], "'groups' is not KEY=VALUE"),
    "facts that are options": ([*INFER, "some", "scale=4"], "scale=... tells nothing of a net"),
}

# What is typed after `cl-sr eval`, and what is told of it: of a finished run on stand-ins, that has
# a state after celeba, and an evaluation with 9 steps.
EVALUATIONS: dict[str, tuple[list[str], str]] = {
    "no folder": (["nowhere"], "no folder nowhere: name a run or a sweep"),
    "no run": (["some"], "no finished run in some"),
    "an evaluation": (["done/evaluations/nine"], "name the run that it is of, done"),
    "unknown key": (["done", "eval.step=3"], "unknown key 'eval.step': did you mean 'eval.steps'?"),
    "value": (["done", "eval.steps=many"], "eval.steps='many'"),
    "steps": (["done", "eval.steps=2001"], "eval.steps=2001 is more than the 2000 of"),
    "metric": (["done", "eval.metrics=lpisp"], "unknown metric 'lpisp': did you mean 'lpips'?"),
    "training": (["done", "train.lr=1"], "train.lr would change the training"),
    "model": (["done", "model.dropout=0.5"], "model.dropout would change the training"),
    "strategy": (["done", "strategy=router"], "strategy would change the training"),
    "option": (["done", "strategy.replay.size=3"], "strategy.replay.size would change the"),
    "degradation": (["done", "data.kernel=area"], "data.kernel would change the training"),
    "seed": (["done", "seed=3"], "seed would change the training"),
    "when": (["done", "eval.every=3"], "eval.every says when a run is evaluated while it trains"),
    "nothing": (["done", "eval.images=0"], "eval.images=0 judges nothing"),
    "state": (["done", "--after", "celebra"], "no state after 'celebra': did you mean 'celeba'?"),
    "gone state": (["done", "--after", "animef"], "no state after 'animef'"),
    "name": (["done", "--name", "../up"], "--name '../up': letters, digits and . _ + - alone"),
    "other settings": (
        ["done", "eval.steps=3", "--name", "nine"],
        "holds an evaluation with other settings (eval.steps is 9, not 3): choose another --name, "
        "or add --overwrite",
    ),
    "something else": (["done", "--name", "letters"], "is not empty and holds no evaluation"),
    "data": (["done", "--data", "nowhere"], "for the domain celeba: give --data celeba=DIR"),
    "no evaluation": (["report", "done", "--evaluation", "nin"], "did you mean 'nine'?"),
    "of none": (["compare", "done", "--evaluation", "ten"], "done has no evaluation 'ten'"),
    "lacking": (["compare", "done", "--evaluation", "nine"], "lacks the state after celeba"),
}

SCRIPT = f"""
import contextlib, io, json, sys

class Watch:
    tried = []
    def find_spec(self, name, *_):
        if name.split(".")[0] in {HEAVY!r}:
            self.tried.append(name)
            raise ImportError("too early for " + name)

sys.meta_path.insert(0, Watch())
from cl_sr.cli.main import main

found = {{}}
for case, arguments in json.load(sys.stdin).items():
    Watch.tried, code, told = [], None, io.StringIO()
    try:
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
            main(arguments, prog_name="cl-sr")
    except SystemExit as error:
        code = error.code
    except BaseException as error:
        told.write(repr(error))
    found[case] = [code, told.getvalue(), Watch.tried]
json.dump(found, sys.stdout)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the cases are called: some data, and descriptions of weights."""
    path = tmp_path_factory.mktemp("refusals")
    for name in ("some/celeba", "some/animef", "weights", "prior", "other"):
        (path / name).mkdir(parents=True)
    (path / "some/celeba/one.png").write_bytes(b"not opened yet")
    (path / "some/animef/one.txt").write_text("no image")
    (path / "some/letter.txt").write_text("dear")
    unet = {"in_channel": 6, "image_size": 16, "inner_channel": 8}
    about = Description("sr3", unet, {}, steps=100, scale=8, sampling=Sampling())
    prior = Description("sr3", unet | {"in_channel": 3}, {}, conditional=False, steps=100)
    stand_in, scores = {"source": "stand-in"}, [",psnr,bicubic,celeba,1", ",psnr,celeba,celeba,2"]
    environment = {"data": {"celeba": stand_in, "animef": stand_in}, "metrics": {"psnr": True}}
    made = {
        "config.yaml": resolve(read_preset("demo")).to_yaml(),
        "status.json": '{"state": "finished", "iteration": 9, "of": 9}',
        "env.json": json.dumps(environment | {"packages": {}}),
        "matrix.csv": "\n".join(["run,metric,after,domain,value", *scores]),
        "manifest.csv": "domain,side,path,sha256\n",
        "checkpoints/celeba/config.json": json.dumps(
            replace(about, strategy=["finetune"]).to_json()
        ),
        "checkpoints/celeba/model.safetensors": "not opened yet",
        "evaluations/letters/letter.txt": "dear",
    }
    for file, text in made.items():
        (path / "done" / file).parent.mkdir(parents=True, exist_ok=True)
        (path / "done" / file).write_text(text)
    plan = plan_evaluation(path / "done", ["eval.steps=9"], name="nine")
    plan.path.mkdir()
    EvaluationFolder(plan.path).put(plan, [], finished=False)
    for name, text in (
        ("weights", json.dumps(about.to_json())),
        ("prior", json.dumps(prior.to_json())),
        ("other", json.dumps({"kind": "another", **asdict(about)})),
    ):
        (path / name / "config.json").write_text(text)
        (path / name / "model.safetensors").write_bytes(b"not opened yet")
    RunFolder.create(
        path / "begun", False, {name: made[name] for name in ("config.yaml", "status.json")}
    )
    finished(path / "done")
    (finished(path / "going") / "status.json").write_text('{"state": "running"}')
    finished(path / "joint", "strategy=joint")
    for tensors in (finished(path / "hollow") / "checkpoints").glob(f"*/{TENSORS}"):
        tensors.unlink()
    (finished(path / "bare") / "manifest.csv").unlink()
    (path / "swept").mkdir()
    (path / "swept" / "sweep.json").write_text("{}")
    return path


def finished(path: Path, *overrides: str) -> Path:
    """What is looked at before torch is imported of a finished run of two domains."""
    config = resolve(read_preset("demo"), ["train.iterations=[4,2]", *overrides])
    data = {name: {"source": "stand-in"} for name in ("celeba", "animef")}
    files = {
        "config.yaml": config.to_yaml(),
        "status.json": json.dumps({"state": "finished"}),
        "env.json": json.dumps({"data": data, "metrics": {"psnr": True}}),
    }
    for name in ("manifest.csv", "images.csv", "windows.csv"):
        files[name] = ""
    for name, experience, iteration in (("celeba", 1, 4), ("iteration-000006", 1, 6)):
        about = {"format": STATE_FORMAT, "experience": experience, "iteration": iteration}
        files[f"checkpoints/{name}/{VALUES}"] = json.dumps(about)
        for tensors in (WEIGHTS, TENSORS):  # none: the length of an empty header, and that
            files[f"checkpoints/{name}/{tensors}"] = "\2" + 7 * "\0" + "{}"
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return path


def call(folder: Path, cases: dict[str, list[str]]) -> dict[str, Any]:
    """Of each case: the exit code, what was printed, and which heavy modules were asked for.

    All in one process, which no heavy module can be imported in.
    """
    kept = {k: v for k, v in os.environ.items() if k != "CL_SR_DATA" and not k.startswith("HF_")}
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps(cases),
        cwd=folder,
        env=kept | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "home")},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.fixture(scope="module")
def told(folder: Path) -> dict[str, Any]:
    cases = {
        case: arguments if arguments[0] in ("infer", "export") else ["run", *arguments]
        for case, (arguments, _) in CASES.items()
    }
    return call(folder, cases)


@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_in_one_line_before_torch(
    told: dict[str, Any], folder: Path, case: str
) -> None:
    code, printed, heavy = told[case]
    assert heavy == []
    assert code == 2, printed
    (line,) = printed.splitlines()
    assert line.startswith("Error: ")
    assert CASES[case][1] in line
    assert not (folder / "runs").exists()


@pytest.fixture(scope="module")
def told_of_evaluations(folder: Path) -> dict[str, Any]:
    cases = {
        case: arguments if arguments[0] in ("report", "compare") else ["eval", *arguments]
        for case, (arguments, _) in EVALUATIONS.items()
    }
    return call(folder, cases)


@pytest.mark.parametrize("case", EVALUATIONS)
def test_an_evaluation_is_refused_in_one_line_before_torch(
    told_of_evaluations: dict[str, Any], case: str
) -> None:
    code, printed, heavy = told_of_evaluations[case]
    assert code == 2, printed
    assert printed.splitlines()[-1].startswith("Error: ")
    assert EVALUATIONS[case][1] in printed
    assert heavy == []
    assert len(printed.splitlines()) == 1


def test_what_is_right_goes_on_to_import_torch(folder: Path) -> None:
    """Else the other tests would tell nothing."""
    _, printed, heavy = call(folder, {"right": ["run", "--dry-run"]})["right"]
    assert heavy[0] == "torch"
    assert "too early for torch" in printed
    _, printed, heavy = call(folder, {"right": ["eval", "done", "eval.steps=3"]})["right"]
    assert heavy[0] == "torch"
    assert not (folder / "done/evaluations/steps-3").exists()


def test_python_is_told_the_same(folder: Path) -> None:
    code = (
        "import sys, cl_sr\nfrom cl_sr.errors import InputError\n"
        "try: cl_sr.run(strategy='finetun')\n"
        "except InputError as error: print(error)\n"
        f"sys.exit(any(name in sys.modules for name in {HEAVY!r}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "did you mean 'finetune'?" in result.stdout
