"""`cl-sr zero-shot` as a user calls it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from cl_sr.cli.main import main
from cl_sr.models.ddpm import DDPMUNet
from cl_sr.zero_shot import AveragePool

Cli = Callable[..., Result]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    net = DDPMUNet(32, 32, (1, 1), 1, ())
    torch.save(net.state_dict(), "prior.ckpt")

    def call(source: object, *arguments: object) -> Result:
        fixed = ["zero-shot", "-i", source, "--prior", "prior.ckpt", "-o", "out", "--steps", 2]
        given = [str(a) for a in [*fixed, *arguments, "image_size=32"]]
        return CliRunner().invoke(main, given, prog_name="cl-sr")

    return call


def pixels(path: str) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)[None].float()


def test_a_folder_of_images_of_any_size(cli: Cli, image_folder: Callable[..., Path]) -> None:
    folder = image_folder("small", 2, size=(7, 5))
    image_folder("small/below", 1, size=(6, 6))
    result = cli(folder, "--scale", 3)
    assert result.exit_code == 0, result.output
    assert "7x5 to 21x15 pixels, consistent with the input to" in result.stdout
    found = sorted(str(p.relative_to("out")) for p in Path("out").rglob("*.*"))
    assert found == ["000.png", "001.png", "below/000.png"]
    assert Image.open("out/below/000.png").size == (18, 18)


def test_the_input_is_used_as_it_is(cli: Cli, tmp_path: Path) -> None:
    """A grey image leaves room for the prior's noise: averaging the result gives it back."""
    Image.new("RGB", (8, 8), (128, 120, 130)).save(tmp_path / "grey.png")
    assert cli("grey.png", "--scale", 4, "--operator", "average").exit_code == 0
    low = AveragePool(4).down(pixels("out/grey.png"))
    assert Image.open("out/grey.png").size == (32, 32)
    off = (low - pixels("grey.png")).abs()
    assert float(off.median()) < 12  # only what was clipped at black and white is lost


def test_an_image_does_not_depend_on_its_company(
    cli: Cli, image_folder: Callable[..., Path]
) -> None:
    folder = image_folder("small", 3, size=(4, 4))
    assert cli(folder, "--scale", 2).exit_code == 0
    together = pixels("out/001.png")
    assert cli(folder / "001.png", "--scale", 2, "--overwrite").exit_code == 0
    assert torch.equal(together, pixels("out/001.png"))
    assert cli(folder / "001.png", "--scale", 2, "--overwrite", "--seed", 1).exit_code == 0
    assert not torch.equal(together, pixels("out/001.png"))


def test_names_that_would_meet_are_kept_apart(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    for name in ("a.png", "a.jpg", "b.webp"):
        Image.new("RGB", (4, 4)).save(tmp_path / "small" / name)
    assert cli("small", "--scale", 2).exit_code == 0
    assert sorted(p.name for p in Path("out").iterdir()) == ["a.jpg.png", "a.png.png", "b.png"]


def test_broken_images_are_skipped_and_told(cli: Cli, image_folder: Callable[..., Path]) -> None:
    folder = image_folder("small", 1, size=(4, 4))
    (folder / "broken.png").write_bytes(b"no image")
    result = cli(folder, "--scale", 2)
    assert result.exit_code == 0
    assert "skipped" in result.stderr
    assert "broken.png" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.png", "--scale", 4], "no file or folder absent.png"),
        (["empty", "--scale", 4], "no images below empty"),
        (["image.png", "--scale", 4, "--prior", "absent.pt"], "no file absent.pt"),
        (["image.png", "--scale", 4, "--prior", "image.png"], "damaged, cut short"),
        (["image.png", "--scale", 4, "--steps", 1001], "must be in 1..1000"),
        (["image.png", "--scale", 4, "num_heads"], "not KEY=VALUE"),
        (["image.png", "--scale", 4, "heads=3"], "no argument 'heads'"),
        (["image.png", "--scale", 4, "schedule=cosin"], "schedule='cosin': did you mean 'cosine'?"),
        (["image.png", "--scale", 4, "diffusion_steps=0"], "diffusion_steps=0 must be in 1.."),
        (["image.png", "--scale", 4, "-o", "image.png"], "is the image itself"),
        (["broken.png", "--scale", 4], "no image could be read"),
    ],
)
def test_bad_input(cli: Cli, tmp_path: Path, arguments: list[object], message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.png").write_bytes(b"no image")
    Image.new("RGB", (4, 4)).save(tmp_path / "image.png")
    result = cli(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.output
    assert not Path("out").exists()


def test_too_little_memory_is_one_line(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 TB")

    monkeypatch.setattr("cl_sr.inference.restorer.upscale", full)
    Image.new("RGB", (4, 4)).save(tmp_path / "image.png")
    result = cli("image.png", "--scale", 4)
    assert result.exit_code == 2
    assert "4x4 pixels are too many for the memory of cpu: lower --batch" in result.stderr


def test_what_is_assumed_of_a_prior_is_one_line(
    cli: Cli, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    """A warning, which the command line shows as one line."""
    Image.new("RGB", (4, 4)).save(tmp_path / "image.png")
    assert cli("image.png", "--scale", 2).exit_code == 0
    (line,) = (text for item in recwarn if "assumed" in (text := str(item.message)))
    assert line.startswith("prior.ckpt does not tell how its net was trained: noise_schedule=lin")
    recwarn.clear()
    told = ["noise_schedule=cosine", "diffusion_steps=40", "prediction=epsilon"]
    assert cli("image.png", "--scale", 2, "--overwrite", *told).exit_code == 0
    assert not [item for item in recwarn if "assumed" in str(item.message)]
    many = cli("image.png", "--scale", 2, "--overwrite", *told, "--steps", 41)
    assert "the prior has 40 time-steps" in many.stderr


def test_what_is_there_is_skipped_unless_it_is_to_be_replaced(cli: Cli, tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "image.png")
    assert cli("image.png", "--scale", 2).exit_code == 0
    before = Path("out/image.png").stat().st_mtime_ns
    result = cli("image.png", "--scale", 2)
    assert result.exit_code == 0
    assert "1 of 1 are there already (--overwrite draws them again)" in result.output
    assert Path("out/image.png").stat().st_mtime_ns == before
    assert cli("image.png", "--scale", 2, "--overwrite").exit_code == 0
    assert Path("out/image.png").stat().st_mtime_ns != before


def test_as_infer_does(cli: Cli, tmp_path: Path) -> None:
    """Formats, tiles, what no net sees, several samples and a sheet."""
    image = Image.linear_gradient("L").resize((12, 9))
    image.putalpha(128)
    image.save(tmp_path / "grey.png")
    result = cli(
        "grey.png", "--scale", 4, "-o", "large.tif", "--tile", 8, "--samples", 2, "--sheet"
    )
    assert result.exit_code == 0, result.output
    made = {path.name for path in tmp_path.glob("large*")}
    assert made == {f"large-{what}.tif" for what in ("1", "2", "mean", "spread", "sheet")}
    assert (Image.open("large-1.tif").mode, Image.open("large-1.tif").size) == ("LA", (48, 36))
