"""`cl-sr infer`: one's own pictures, upscaled by a model that was trained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from conftest import TINY
from PIL import Image
from running import run

import cl_sr
from cl_sr.cli.main import main
from cl_sr.inference import Restorer, Upscaled

Cli = Callable[..., Result]
pytestmark = pytest.mark.run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "run"
    run(path, [*TINY, "strategy=router:rank=2", "eval.every=0"])
    return path


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(main, ["infer", *map(str, arguments)], prog_name="cl-sr")

    return call


def picture(path: str, width: int = 9, height: int = 6, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return image


def pixels(path: str) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_one_image_in_the_format_of_the_results_name(cli: Cli, trained: Path) -> None:
    image = picture("small.png")
    result = cli("-i", "small.png", "-o", "large.png", "--run", trained, "--seed", 4)
    assert result.exit_code == 0, result.output
    assert "large.png: 9x6 to 36x24 pixels" in result.stdout
    assert "learnt celeba, animef by router:rank=2; 4 times as large" in result.stderr
    expected = np.asarray(cl_sr.load(trained, batch=16).upscale(image, seed=4))
    assert np.array_equal(pixels("large.png"), expected)
    for name, kind in (("a.jpg", "JPEG"), ("a.webp", "WEBP"), ("a.tif", "TIFF"), ("a.bmp", "BMP")):
        assert cli("-i", "small.png", "-o", name, "--run", trained).exit_code == 0
        made = Image.open(name)
        assert (made.format, made.size) == (kind, (36, 24))


def test_a_state_a_checkpoint_and_a_way_of_sampling(cli: Cli, trained: Path) -> None:
    image = picture("small.png")
    place = trained / "checkpoints" / "celeba"
    assert (
        cli("-i", "small.png", "-o", "a.png", "--run", trained, "--after", "celeba").exit_code == 0
    )
    assert cli("-i", "small.png", "-o", "b.png", "--weights", place).exit_code == 0
    assert np.array_equal(pixels("a.png"), pixels("b.png"))
    state = cl_sr.load(trained, "celeba", batch=16).upscale(image)
    assert np.array_equal(pixels("a.png"), np.asarray(state))
    options = ["--sampler", "ancestral", "--steps", 3, "--tile", 4, "--overlap", 2, "--by-tile"]
    assert cli("-i", "small.png", "-o", "d.png", "--run", trained, *options).exit_code == 0
    expected = cl_sr.load(trained, batch=16).upscale(
        image, sampler="ancestral", steps=3, tile=4, overlap=2, by_tile=True
    )
    assert np.array_equal(pixels("d.png"), np.asarray(expected))


def test_folders_and_patterns_and_going_on(cli: Cli, trained: Path) -> None:
    picture("in/a.png", seed=1)
    picture("in/sub/b.jpg", 20, 11, seed=2)
    picture("in/a.jpg", seed=3)
    Path("in/broken.png").write_bytes(b"no image")
    result = cli("-i", "in", "-o", "out", "--run", trained)
    assert result.exit_code == 0, result.output
    made = {str(path) for path in Path("out").rglob("*.*")}
    assert made == {"out/a.png.png", "out/a.jpg.png", "out/sub/b.png"}
    assert "skipped in/broken.png" in result.stderr
    before = {path: Path(path).stat().st_mtime_ns for path in made}
    Path("out/sub/b.png").unlink()
    result = cli("-i", "in", "-o", "out", "--run", trained)
    assert "2 of 4 are there already" in result.output
    assert {path for path in before if Path(path).stat().st_mtime_ns != before[path]} == {
        "out/sub/b.png"
    }
    assert cli("-i", "in/*.jpg", "-o", "more", "--run", trained).exit_code == 0
    assert [path.name for path in Path("more").iterdir()] == ["a.png"]
    assert np.array_equal(pixels("more/a.png"), pixels("out/a.jpg.png"))
    again = Path("more/a.png").stat().st_mtime_ns
    assert cli("-i", "in/a.jpg", "-o", "more", "--run", trained, "--overwrite").exit_code == 0
    assert Path("more/a.png").stat().st_mtime_ns != again


def test_ctrl_c_keeps_what_is_done(
    cli: Cli, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture("in/a.png")
    picture("in/b.png")
    enlarge = Restorer.enlarge

    def interrupted(self: Restorer, image: Image.Image, *options: Any) -> Upscaled:
        if str(getattr(image, "filename", "")).endswith("b.png"):
            raise KeyboardInterrupt
        return enlarge(self, image, *options)

    monkeypatch.setattr(Restorer, "enlarge", interrupted)
    result = cli("-i", "in", "-o", "out", "--run", trained)
    assert result.exit_code == 130
    assert "1 of 2 are done. The same command goes on" in result.stderr
    assert [path.name for path in Path("out").iterdir()] == ["a.png"]


def test_pictures_as_people_have_them(cli: Cli, trained: Path) -> None:
    image = picture("plain.png")
    frames = [image.convert("P"), picture("x.png", seed=5).convert("P")]
    frames[0].save("moving.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(np.arange(54, dtype=np.uint16).reshape(6, 9) * 1200).save("scan.tif")
    image.save("profile.jpg", icc_profile=b"a profile")
    names = ["moving.gif", "scan.tif", "profile.jpg"]
    given = [part for name in names for part in ("-i", name)]
    result = cli(*given, "-o", "out", "--run", trained)
    assert result.exit_code == 0, result.output
    assert "out/moving.png: 9x6, the first of 2 frames to 36x24" in result.stdout
    assert Image.open("out/scan.png").mode == "L"
    assert Image.open("out/profile.png").info["icc_profile"] == b"a profile"


def test_several_samples_their_mean_their_spread_and_a_sheet(cli: Cli, trained: Path) -> None:
    image = picture("in/a.png")
    options = ["--samples", 3, "--seed", 5, "--sheet"]
    result = cli("-i", "in", "-o", "out", "--run", trained, *options)
    assert result.exit_code == 0, result.output
    made = {path.name for path in Path("out").iterdir()}
    assert made == {f"a-{what}.png" for what in ("1", "2", "3", "mean", "spread", "sheet")}
    restorer = cl_sr.load(trained)
    samples = np.stack([np.asarray(restorer.upscale(image, seed=5 + k)) for k in range(3)])
    assert np.array_equal(np.stack([pixels(f"out/a-{k}.png") for k in (1, 2, 3)]), samples)
    assert np.array_equal(pixels("out/a-mean.png"), np.rint(samples.mean(0)))
    spread = np.sqrt(samples.astype(float).var(0, ddof=1).mean(-1))
    assert f"white is a standard deviation of {spread.max():.1f} of 255" in result.stdout
    expected = np.rint(spread / spread.max() * 255)
    assert np.abs(pixels("out/a-spread.png") - expected).max() <= 1
    words = "out/a-sheet.png: before | after | mean of 3 | spread"
    assert words in result.stdout
    sheet = Image.open("out/a-sheet.png")
    assert sheet.height == 24 + 28
    assert sheet.width >= 4 * 36
    again = cli("-i", "in", "-o", "out", "--run", trained, *options)
    assert "1 of 1 are there already" in again.output
    Path("out/a-mean.png").unlink()
    assert cli("-i", "in", "-o", "out", "--run", trained, *options).exit_code == 0
    assert Path("out/a-mean.png").exists()


def test_which_weights_a_router_takes(cli: Cli, trained: Path) -> None:
    picture("small.png", 30, 9)
    made = {}
    for domain in ("celeba", "animef"):
        result = cli("-i", "small.png", "-o", f"{domain}.png", "--run", trained, "--domain", domain)
        assert result.exit_code == 0, result.output
        assert f"30x9 to 120x36 pixels, as {domain}" in result.stdout
        made[domain] = pixels(f"{domain}.png")
    assert not np.array_equal(made["celeba"], made["animef"])
    result = cli("-i", "small.png", "-o", "own.png", "--run", trained)
    chosen = "celeba" if ", as celeba" in result.stdout else "animef"
    assert np.array_equal(pixels("own.png"), made[chosen])
    result = cli("-i", "small.png", "-o", "tiles.png", "--run", trained, "--by-tile")
    assert ", as " in result.stdout


def test_a_result_that_shrinks_to_its_input(cli: Cli, trained: Path) -> None:
    coarse = np.random.default_rng(0).integers(70, 190, (3, 4, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((21, 14), Image.Resampling.BICUBIC)
    image.save("small.png")
    result = cli("-i", "small.png", "-o", "large.png", "--run", trained, "--consistent")
    assert result.exit_code == 0, result.output
    assert "consistent with the input to " in result.stdout
    small = Image.open("large.png").resize((21, 14), Image.Resampling.BICUBIC)
    off = np.abs(np.asarray(small).astype(int) - np.asarray(image).astype(int))
    assert off.max() <= 1


def test_more_pixels_than_a_format_holds(cli: Cli, trained: Path) -> None:
    picture("wide.png", 4096, 2)
    result = cli("-i", "wide.png", "-o", "large.webp", "--run", trained, "--steps", 1)
    assert result.exit_code == 2
    assert "too many for .webp, which holds 16383 a side: take .png or .tif" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-i", "a.png", "-o", "o"], "give --run RUN or --weights"),
        (["-i", "a.png", "-o", "o", "--run", "RUN", "--weights", "RUN"], "give --run RUN or"),
        (["-i", "a.png", "-o", "o", "--weights", "RUN", "--after", "x"], "--after tells a state"),
        (["-i", "a.png", "-o", "o", "--run", "nowhere"], "no folder nowhere"),
        (["-i", "a.png", "-o", "o", "--run", "."], "neither a run nor a checkpoint"),
        (["-i", "a.png", "-o", "o", "--run", "RUN", "--after", "cats"], "no checkpoint 'cats'"),
        (["-i", "no.png", "-o", "o", "--run", "RUN"], "no file or folder no.png"),
        (["-i", "empty", "-o", "o", "--run", "RUN"], "no images below empty"),
        (["-i", "a.txt", "-o", "o", "--run", "RUN"], "no image could be read"),
        (["-i", "in", "-o", "in/out", "--run", "RUN"], "in/out is inside in"),
        (["-i", "in", "-o", ".", "--run", "RUN"], "in is inside .: results would be taken"),
        (["-i", "a.png", "-o", "o", "--run", "RUN", "--domain", "cats"], "'cats' was never learnt"),
        (
            ["-i", "a.png", "-o", "o", "--run", "RUN", "--domain", "celeba", "--by-tile"],
            "--domain and --by-tile contradict",
        ),
        (
            ["-i", "in", "-i", "in/../in", "-o", "o", "--run", "RUN", "--samples", "2"],
            "would both become o/",
        ),
        (["-i", "in", "-o", "one.png", "--run", "RUN"], "2 images for one file one.png"),
        (["-i", "a.png", "-o", "a.gif", "--run", "RUN"], "its ending tells no format"),
        (["-i", "a.png", "-o", ".", "--run", "RUN"], "is the image itself"),
        (["-i", "a.png", "-i", "in/a.png", "-o", "o", "--run", "RUN"], "would both become o/a.png"),
        (["-i", "a.png", "-o", "o", "--run", "RUN", "--steps", "9999"], "steps"),
        (["-i", "a.png", "-o", "o", "--run", "RUN", "--sampler", "dimm"], "unknown sampler"),
        (
            ["-i", "a.png", "-o", "o", "--run", "RUN", "--tile", "3", "--overlap", "2"],
            "at most half",
        ),
    ],
)
def test_bad_input(cli: Cli, trained: Path, arguments: list[str], message: str) -> None:
    picture("a.png")
    picture("in/a.png")
    picture("in/b.png")
    Path("empty").mkdir()
    Path("a.txt").write_text("words")
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*.*")}
    result = cli(*(str(trained) if part == "RUN" else part for part in arguments))
    assert result.exit_code == 2, result.output
    assert message in result.stderr.splitlines()[-1]
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*.*")} == before


def test_a_run_that_is_not_finished_and_a_prior(cli: Cli, trained: Path, tmp_path: Path) -> None:
    picture("small.png")
    part = shutil.copytree(trained, tmp_path / "part")
    shutil.rmtree(part / "checkpoints" / "animef")
    result = cli("-i", "small.png", "-o", "a.png", "--run", "part")
    assert result.exit_code == 0, result.output
    assert "learnt celeba by" in result.stderr
    status = json.loads((part / "status.json").read_text())
    (part / "status.json").write_text(json.dumps(status | {"state": "interrupted", "iteration": 3}))
    result = cli("-i", "small.png", "-o", "a.png", "--run", "part", "--overwrite")
    assert f"part is not finished (3 of {status['of']} iterations): learnt celeba" in result.stderr
    run(tmp_path / "prior", [*TINY, "strategy=ddnm:iterations=2,steps=2"])
    result = cli("-i", "small.png", "-o", "b.png", "--run", "prior")
    assert result.exit_code == 2
    assert "cl-sr zero-shot --prior takes it" in result.stderr
