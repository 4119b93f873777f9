"""`cl-sr export`: what is written is read elsewhere, and restores the same images."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from conftest import TINY
from hub_server import TOKEN, serving
from PIL import Image
from running import run
from safetensors.torch import load_file
from torch import Tensor

import cl_sr
from cl_sr.cli.main import main
from cl_sr.errors import InputError
from cl_sr.export import run as exporting
from cl_sr.export.formats import KINDS
from cl_sr.models import load_sr3
from cl_sr.runs.record import Record

pytestmark = pytest.mark.run
SMALL = [*TINY, "model.channel_mults=[1, 2]", "eval.every=0", "model.res_blocks=1"]
EPSILON = ["diffusion.prediction=epsilon", "diffusion.target=image"]
Cli = Callable[..., Result]

STRATEGIES = {
    "router": "router:rank=2",
    "lora": "lora:rank=2,train=weights",
    "window-experts": "window-experts:stop=500+replay:size=2",
    "wise-ft": "replay:size=2+wise-ft",
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of each strategy, one that the public code could have trained, and a prior's."""
    place = tmp_path_factory.mktemp("runs")
    for name, strategy in STRATEGIES.items():
        run(place / name, [*SMALL, f"strategy={strategy}"])
    run(place / "public", [*SMALL, *EPSILON, "diffusion.steps=100"])
    run(place / "prior", [*SMALL, *EPSILON, "strategy=ddnm:iterations=2,steps=2"])
    return place


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(main, list(map(str, arguments)), prog_name="cl-sr")

    return call


def low() -> Tensor:
    return torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def pixels(place: Path | str, after: str | None = None) -> Tensor:
    images: Tensor = cl_sr.load(place, after, device="cpu")(low())
    return images


@pytest.mark.parametrize("name", STRATEGIES)
def test_what_is_loaded_elsewhere_restores_the_same_pixels(
    runs: Path, name: str, cli: Cli, tmp_path: Path
) -> None:
    for after in (None, "celeba"):
        to = tmp_path / f"out-{after}"
        more = () if after is None else ("--after", after)
        result = cli("export", runs / name, "--to", to, *more)
        assert result.exit_code == 0, result.output
        assert result.stdout == f"{to}\n"
        elsewhere = shutil.move(to, tmp_path / f"elsewhere-{after}")
        assert torch.equal(pixels(elsewhere), pixels(runs / name, after))
        loaded = cl_sr.load(elsewhere)
        assert loaded.strategy == STRATEGIES[name]
        assert loaded.domains == (("celeba", "animef") if after is None else ("celeba",))
    Image.fromarray(np.full((5, 7, 3), 99, np.uint8)).save("small.png")
    for option, place in (("--run", runs / name), ("--weights", tmp_path / "elsewhere-None")):
        assert cli("infer", "-i", "small.png", "-o", f"{option}.png", option, place).exit_code == 0
    assert Path("--run.png").read_bytes() == Path("--weights.png").read_bytes()


@pytest.mark.parametrize("name", STRATEGIES)
def test_no_image_and_no_state_of_training_travels(runs: Path, name: str, tmp_path: Path) -> None:
    cl_sr.open(runs / name).export(tmp_path / "out")
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    kept = {path.name for path in files if path.parent.name == "out"}
    assert kept <= {"README.md", "config.json", "model.safetensors", "memory.safetensors"}
    assert ("memory.safetensors" in kept) == (name in ("router", "window-experts"))
    for path in files:
        if path.suffix == ".safetensors":
            assert not any(tensor.dtype == torch.uint8 for tensor in load_file(path).values())
        else:
            assert str(runs) not in path.read_text()
    trained = load_file(runs / name / "checkpoints" / "animef" / "training.safetensors")
    if "replay" in STRATEGIES[name]:  # else this would tell nothing
        assert any(tensor.dtype == torch.uint8 for tensor in trained.values())


@pytest.mark.parametrize("name", ["router", "lora"])
def test_peft_merges_an_exported_adapter(runs: Path, name: str, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    cl_sr.open(runs / name).export(tmp_path / "out")
    base = load_sr3(tmp_path / "out" / "base")
    first = load_sr3(runs / name / "checkpoints" / "celeba").state_dict()
    assert all(torch.equal(base.state_dict()[key], first[key]) for key in first)
    net = peft.PeftModel.from_pretrained(base, tmp_path / "out" / "adapters" / "animef")
    found = net.merge_and_unload().state_dict()
    expected = load_sr3(runs / name / "checkpoints" / "animef").state_dict()
    assert found.keys() == expected.keys()
    assert any(key.endswith("qkv.weight") for key in expected)
    for key, weight in expected.items():
        assert torch.allclose(found[key], weight, rtol=1e-5, atol=1e-6), key


def test_the_card(runs: Path, cli: Cli) -> None:
    from huggingface_hub import ModelCard

    result = cli("export", runs / "wise-ft", "--to", "faces", "--license", "cc-by-4.0")
    assert result.exit_code == 0, result.output
    card = ModelCard.load("faces/README.md")
    assert (card.data.license, card.data.library_name) == ("cc-by-4.0", "cl-sr")
    assert {"super-resolution", "sr3", "domain:celeba", "domain:animef"} <= set(card.data.tags)
    told = {(r.dataset_type, r.metric_type): r for r in card.data.eval_results}
    record = Record(runs / "wise-ft")
    for matrix in record.matrices:
        for domain, value in matrix.rows["animef"].items():
            result_of = told[domain, matrix.metric]
            assert result_of.metric_value == pytest.approx(value, abs=0.006)
            low, high = result_of.metric_args["confidence_interval_95"]
            assert low <= result_of.metric_value <= high
            assert result_of.dataset_name == f"{domain} (stand-in)"
    report = cl_sr.open(runs / "wise-ft").report()
    for part in (report.headline, report.protocol, *(t.markdown() for t in report.tables)):
        assert part in card.text
    assert "were stand-ins, drawn by code" in card.text
    assert "as given by who exported" in card.text
    (code,) = (text.partition("```")[0] for text in card.text.split("```python\n")[1:])
    Image.fromarray(np.full((4, 4, 3), 99, np.uint8)).save("small.png")
    exec(code, {})
    assert Image.open("large.png").size == (16, 16)


def test_the_card_of_an_earlier_state_and_without_a_licence(runs: Path, cli: Cli) -> None:
    result = cli("export", runs / "router", "--to", "early", "--after", "celeba")
    assert "No --license was given" in result.stderr
    text = Path("early/README.md").read_text()
    assert "license:" not in text
    assert "None was given" in text
    assert "the state `after celeba`: after it the run has learnt animef" in text
    assert "| animef (stand-in) | no |" in text


def test_a_run_that_is_not_finished(runs: Path, cli: Cli, tmp_path: Path) -> None:
    part = shutil.copytree(runs / "router", tmp_path / "part")
    for later in ("animef", "iteration-000007"):
        shutil.rmtree(part / "checkpoints" / later)
    (part / "status.json").write_text('{"state": "interrupted", "iteration": 5, "of": 7}')
    with pytest.warns(UserWarning, match="part is not finished: its state celeba is exported"):
        result = cli("export", part, "--to", "out")
    assert result.exit_code == 0, result.output
    assert (
        "**Unfinished run: interrupted at iteration 5 of 7.**" in Path("out/README.md").read_text()
    )
    (part / "env.json").unlink()
    with pytest.warns(UserWarning, match="not finished"):
        assert cli("export", part, "--to", "out", "--overwrite").exit_code == 0
    assert "None: the run's own files are gone." in Path("out/README.md").read_text()


def test_the_public_codes_format(runs: Path, cli: Cli) -> None:
    result = cli("export", runs / "public", "--to", "out", "--format", "sr3")
    assert result.exit_code == 0, result.output
    assert {path.name for path in Path("out").iterdir()} == {"README.md", "I7_E2_gen.pth"}
    file = Path("out/I7_E2_gen.pth")
    facts = {"norm_groups": 4, "image_size": 16}
    net, expected = load_sr3(file, **facts), load_sr3(runs / "public" / "checkpoints" / "animef")
    noisy, condition = torch.randn(2, 2, 3, 16, 16)
    level = torch.tensor([0.3, 0.9])
    with torch.no_grad():
        assert torch.equal(net(noisy, condition, level), expected(noisy, condition, level))
    restored = cl_sr.load(file, scale=4, device="cpu", **facts)(low(), steps=2)
    assert torch.allclose(restored, cl_sr.load(runs / "public", device="cpu")(low(), steps=2),
                          atol=1e-4)  # fmt: skip
    text = Path("out/README.md").read_text()
    assert '"channel_multiplier": [\n        1,\n        2\n      ]' in text
    assert '"schedule": "linear",\n        "n_timestep": 100' in text
    assert "--scale 4 norm_groups=4 image_size=16" in text


def test_diffusers_format(runs: Path, cli: Cli) -> None:
    pytest.importorskip("diffusers")
    result = cli("export", runs / "lora", "--to", "out", "--format", "diffusers")
    assert result.exit_code == 0, result.output
    assert {path.name for path in Path("out").iterdir()} == {"README.md", "unet", "scheduler"}
    Image.fromarray(np.full((4, 4, 3), 99, np.uint8)).save("small.png")
    (code,) = (
        t.partition("```")[0] for t in Path("out/README.md").read_text().split("```python\n")[1:]
    )
    exec(code.replace("set_timesteps(50)", "set_timesteps(2)"), {})
    assert Image.open("large.png").size == (16, 16)
    assert cli("export", runs / "prior", "--to", "prior", "--format", "diffusers").exit_code == 0
    assert (Path("prior") / "model_index.json").is_file()


def test_grey_images_that_are_not_square(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    run(tmp_path / "grey", [*SMALL, *EPSILON, "data.size=[16,24]", "data.channels=1"])
    Image.fromarray(np.full((4, 6), 99, np.uint8)).save("small.png")
    assert cli("export", "grey", "--to", "own").exit_code == 0
    assert "of 16x24 pixels" in Path("own/README.md").read_text()
    for option, place in (("--run", "grey"), ("--weights", "own")):
        assert cli("infer", "-i", "small.png", "-o", f"{option}.png", option, place).exit_code == 0
    assert Path("--run.png").read_bytes() == Path("--weights.png").read_bytes()
    assert cli("export", "grey", "--to", "public", "--format", "sr3").exit_code == 0
    (file,) = Path("public").glob("*_gen.pth")
    loaded = cl_sr.load(file, scale=4, device="cpu", norm_groups=4, image_size=[16, 24])
    image = Image.open("small.png")
    own = cl_sr.load("own", device="cpu").upscale(image, steps=2)
    difference = np.asarray(loaded.upscale(image, steps=2)).astype(int) - np.asarray(own)
    assert abs(difference).max() <= 1
    assert "image_size=[16,24]" in Path("public/README.md").read_text()
    assert cli("export", "grey", "--to", "theirs", "--format", "diffusers").exit_code == 0
    code = Path("theirs/README.md").read_text().split("```python\n")[1].partition("```")[0]
    exec(code.replace("set_timesteps(50)", "set_timesteps(2)"), {})
    assert (Image.open("large.png").size, Image.open("large.png").mode) == ((24, 16), "L")


def test_a_prior_is_used_by_the_command_for_priors(runs: Path, cli: Cli) -> None:
    assert cli("export", runs / "prior", "--to", "prior").exit_code == 0
    assert "cl-sr zero-shot" in Path("prior/README.md").read_text()
    Image.fromarray(np.full((4, 4, 3), 99, np.uint8)).save("small.png")
    result = cli("infer", "-i", "small.png", "-o", "a.png", "--weights", "prior")
    assert result.exit_code == 2
    assert "cl-sr zero-shot --prior takes it" in result.stderr
    result = cli("zero-shot", "-i", "small.png", "-o", "out", "--scale", "4", "--prior", "prior",
                 "--steps", "2")  # fmt: skip
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["router", "--to", "out", "--format", "sr3"], "trained to predict v"),
        (["window-experts", "--to", "out", "--format", "diffusers"], "with several nets (window-"),
        (["router", "--to", "out", "--after", "cats"], "no checkpoint 'cats'"),
        (["router", "--to", "full"], "full is not empty: choose another --to, or add --overwrite"),
        (["router", "--to", "full", "--overwrite"], "letter.txt, which no export writes"),
        (["router", "--to", "RUN/out"], "is inside the run"),
        (["router", "--to", "RUN", "--overwrite"], "is inside the run"),
        (["router", "--to", "file"], "file is a file"),
        (["router", "--to", "."], "give the folder a name"),
        (["router", "--to", "/proc/out"], "cannot write to /proc"),
        (["router", "--to", "hf:me"], "write hf:owner/name"),
        (["router", "--to", "out", "--license", "My own"], "give an identifier"),
    ],
)
def test_bad_input(runs: Path, cli: Cli, arguments: list[str], message: str) -> None:
    Path("full").mkdir()
    Path("full/letter.txt").write_text("dear")
    Path("file").write_text("")
    before = sorted(Path().rglob("*"))
    name, *rest = arguments
    rest = [part.replace("RUN", str(runs / name)) for part in rest]
    result = cli("export", runs / name, *rest)
    assert result.exit_code == 2, result.output
    assert message in result.stderr.splitlines()[-1]
    assert sorted(Path().rglob("*")) == before


def test_a_full_disk_leaves_what_was_there(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cl_sr.open(runs / "public").export(tmp_path / "out")
    before = {p: p.read_bytes() for p in (tmp_path / "out").iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="No space left on device; make room"):
        cl_sr.open(runs / "public").export(tmp_path / "out", format="sr3", overwrite=True)
    assert {p: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before


def test_a_strategy_of_ones_own_that_inference_does_not_ask_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others do not have its file; of one that restores images this is said."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "from dataclasses import dataclass\nfrom cl_sr.strategies import Strategy\n"
        "from cl_sr.strategies.router import Router\n"
        "@dataclass(frozen=True)\nclass Plain(Strategy):\n    'Words.'\n"
        "@dataclass(frozen=True)\nclass Chooser(Router):\n    'Words.'\n"
        "    experts = Router.experts\n"
    )
    run(tmp_path / "plain", [*SMALL, "strategy=./mine.py:Plain+window-experts:stop=500"])
    cl_sr.open("plain").export("out")
    assert cl_sr.load("out").strategy == "window-experts:stop=500"
    assert torch.equal(pixels("out"), pixels("plain"))
    run(tmp_path / "chooser", [*SMALL, "strategy=./mine.py:Chooser:rank=2"])
    with pytest.warns(UserWarning, match=r"mine\.py:Chooser: whoever loads this must have it"):
        cl_sr.open("chooser").export("other")
    assert torch.equal(pixels("other"), pixels("chooser"))


def test_to_the_hub_and_back(runs: Path, tmp_path: Path) -> None:
    """As two people would: by the command line, each in a process of its own."""
    Image.fromarray(np.full((5, 7, 3), 99, np.uint8)).save(tmp_path / "small.png")

    def call(home: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        own = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / home), "HF_HUB_DISABLE_XET": "1"}
        return subprocess.run(
            [sys.executable, "-m", "cl_sr", *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ | own | {"HF_TOKEN": TOKEN, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )

    with serving() as hub:
        done = call("one", "export", runs / "router", "--to", "hf:me/faces")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{hub.url}/me/faces/commit/")
        done = call("two", "infer", "-i", "small.png", "-o", "a.png", "--weights", "hf:me/faces")
        assert done.returncode == 0, done.stderr
        assert "hf:me/faces: learnt celeba, animef by router" in done.stderr
        card = hub.repositories["me/faces"]
        text = card.commits[card.branches["main"]]["README.md"].decode()
    assert "--weights hf:me/faces" in text
    small = Image.open(tmp_path / "small.png")
    expected = cl_sr.load(runs / "router", device="cpu", batch=16).upscale(small)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), np.asarray(expected))


def test_the_formats_are_those_that_are_offered() -> None:
    assert tuple(KINDS) == exporting.FORMATS
