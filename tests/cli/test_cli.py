"""The command line as a user calls it: what it prints, its exit codes, what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from finished_runs import FINETUNE, writer

import cl_sr
from cl_sr.cli.main import main


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Calls `cl-sr` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CL_SR_DATA", raising=False)

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(main, [str(a) for a in arguments], prog_name="cl-sr")

    return call


def refused(result: Result, *messages: str) -> None:
    """One line, exit code 2, no traceback, and nothing written."""
    assert result.exit_code == 2, result.output
    lines = result.stderr.strip().splitlines()
    assert [line.startswith("Error: ") for line in lines].index(True) == len(lines) - 1
    error = lines[-1]
    for message in messages:
        assert message in error
    assert "Traceback" not in result.output
    assert not Path("runs").exists()


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["list", "keys"], ["--version"]])
def test_help_and_lists_are_quick_to_import(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom cl_sr.cli.main import main\n"
        f"try: main({arguments!r})\nexcept SystemExit: pass\n"
        "sys.exit(any(m in sys.modules for m in ('torch', 'avalanche', 'matplotlib')))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0
    assert result.stdout


def test_list_shows_what_there_is(cli: Callable[..., Result]) -> None:
    text = cli("list").output
    for name in ("celeba-anime-df2k", "timestep-window:start=0,stop=200", "sr3-16-128-large"):
        assert name in text
    assert "high-noise end" in cli("list", "strategies", "timestep-window").output
    assert "train.lr=0.0001" in cli("list", "keys").output


@pytest.mark.run
def test_a_finished_run_is_gone_on_with(cli: Callable[..., Result], tiny: list[str]) -> None:
    arguments = ["--out", "run", *tiny, "train.iterations=[2,1]", "eval.every=0", "eval.images=2"]
    assert cli("run", *arguments).exit_code == 0
    longer = cli("run", "--resume", "run", "train.iterations=[2,2]")
    assert longer.exit_code == 0, longer.output
    assert "going on from run (celeba, animef), at iteration 3" in longer.stderr
    assert "Everything is in runs/celeba-anime-finetune-seed0" in longer.stdout
    text = "from cl_sr.benchmarks import ANIMEF, CELEBA, DF2K_OST, Stream\n"
    text += "stream = Stream('more', 'one more', (CELEBA, ANIMEF, DF2K_OST))\n"
    Path("more.py").write_text(text)
    further = cli("run", "--continue", "runs/celeba-anime-finetune-seed0", "--stream", "./more.py",
                  "train.iterations=1")  # fmt: skip
    assert further.exit_code == 0, further.output
    assert "Goes on from the run" in further.stdout
    assert "after df2k-ost" in further.stdout
    config = cl_sr.open("runs/more-finetune-seed0").record.config
    assert config["train"]["iterations"] == [2, 2, 1]


@pytest.mark.run
def test_a_run_and_its_report(cli: Callable[..., Result], tiny: list[str]) -> None:
    result = cli("run", "--stream", "celeba-anime", "--out", "run", *tiny)
    assert result.exit_code == 0, result.output
    assert "stand-in" in result.stdout
    assert "after animef" in result.stdout
    assert "it/s" in result.stderr  # plain lines, as this is no terminal
    for name in ("config.yaml", "env.json", "manifest.csv", "metrics.jsonl", "matrix.csv"):
        assert (Path("run") / name).is_file()
    for name in ("report.md", "curves.png", "samples.png"):
        (Path("run") / name).unlink()
    again = cli("report", "run")
    assert again.exit_code == 0
    for name in ("report.md", "curves.png", "samples.png"):
        assert (Path("run") / name).is_file()
    # The same tables, but for the line that says where everything is.
    assert again.stdout.strip() in result.stdout

    refused(cli("run", "--out", "run", *tiny), "not empty", "--overwrite")
    assert cli("run", "--out", "run", "--overwrite", *tiny).exit_code == 0


@pytest.mark.run
def test_runs_get_names_of_their_own(cli: Callable[..., Result], tiny: list[str]) -> None:
    for _ in range(2):
        assert cli("run", *tiny, "train.iterations=1", "eval.images=0").exit_code == 0
    assert sorted(p.name for p in Path("runs").iterdir()) == [
        "celeba-anime-finetune-seed0",
        "celeba-anime-finetune-seed0-2",
    ]


def test_a_dry_run_shows_the_configuration_and_writes_nothing(
    cli: Callable[..., Result], tiny: list[str]
) -> None:
    result = cli("run", "--dry-run", *tiny)
    assert result.exit_code == 0
    assert "stream: celeba-anime" in result.stdout
    assert list(Path().iterdir()) == []
    Path("again.yaml").write_text(result.stdout)
    assert cli("run", "--dry-run", "--config", "again.yaml").stdout == result.stdout


def test_real_folders_in_every_spelling(
    cli: Callable[..., Result],
    tiny: list[str],
    image_folder: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    celeba, animef = image_folder("data/celeba", 8), image_folder("elsewhere", 8, seed=1)
    root = celeba.parent
    spelt = cli("run", "--dry-run", "--data", root, "--data", f"animef={animef}", *tiny)
    assert spelt.exit_code == 0, spelt.output
    assert "celeba: 6 training and 2 test images" in spelt.stderr
    animef.rename(root / "animef")
    monkeypatch.setenv("CL_SR_DATA", str(root))
    assert "animef: 6 training and 2 test images" in cli("run", "--dry-run", *tiny).stderr
    # A folder for a domain of another stream does no harm.
    surplus = cli("run", "--dry-run", "--data", root, "--data", f"df2k-ost={root}", *tiny)
    assert surplus.exit_code == 0


def test_data_that_cannot_be_used(
    cli: Callable[..., Result], tiny: list[str], image_folder: Callable[..., Path]
) -> None:
    root = image_folder("data/celeba", 8).parent
    refused(cli("run", "--data", root, *tiny), "animef", "--data animef=DIR")
    (root / "animef").mkdir()
    none = "animef: no images (jpg, png, webp, bmp, tif) for the domain animef"
    refused(cli("run", "--data", root, *tiny), none, "--data animef=DIR")
    refused(cli("run", "--data", f"celeba={root / 'celeba'}", *tiny), "--data animef=DIR")
    refused(cli("run", "--data", f"celebra={root}", *tiny), "did you mean 'celeba'")
    refused(cli("run", "--data", f"df2k-ost={root}", *tiny), "--data celeba=DIR")
    refused(cli("run", "--data", "celeba=", *tiny), "data.folders")
    refused(cli("run", "--data", root / "nothing", *tiny), "no folder")
    refused(cli("run", "--data", root, "--data", root, *tiny), "second folder")
    for k in range(5):
        (root / "animef" / f"{k}.jpg").write_text("not an image")
    result = cli("run", "--data", root, *tiny)
    refused(result, "0 usable images", "5 unreadable: '0.jpg'", "--data animef=DIR")


def test_unreadable_images_are_skipped_and_told(
    cli: Callable[..., Result], tiny: list[str], image_folder: Callable[..., Path]
) -> None:
    root = image_folder("data/celeba", 8).parent
    image_folder("data/animef", 8, seed=1)
    (root / "animef" / "broken[1].jpg").write_text("no")
    result = cli("run", "--dry-run", "--data", root, *tiny)
    assert result.exit_code == 0
    assert "skipped 1 unreadable: 'broken[1].jpg'" in result.stderr


def test_prepared_folders_give_their_large_images_or_are_refused(
    cli: Callable[..., Result], tiny: list[str], image_folder: Callable[..., Path]
) -> None:
    for name, side in (("hr_16", 16), ("lr_4", 4), ("sr_4_16", 16)):
        image_folder(f"data/celeba/{name}", 8, size=(side, side))
    root = image_folder("data/animef", 8, seed=1).parent
    result = cli("run", "--dry-run", "--data", root, *tiny)
    assert result.exit_code == 0
    assert "celeba: 6 training and 2 test images" in result.stderr
    assert "left out 16 files of lr_4, sr_4_16: the same images at other sizes" in result.stderr
    (root / "celeba" / "hr_16").rename(root / "celeba" / "originals")
    result = cli("run", "--dry-run", "--data", root, *tiny)
    refused(result, "lr_4/000.png and originals/000.png are at 4x4 and 16x16 pixels")


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (["--stream", "celeba-anim"], ["did you mean 'celeba-anime'"]),
        (["--preset", "dmo"], ["did you mean 'demo'"]),
        (["--config", "nowhere.yaml"], ["cannot read nowhere.yaml"]),
        (["--preset", "demo", "--config", "x.yaml"], ["use one"]),
        (["--strategy", "finetun"], ["did you mean 'finetune'"]),
        (["--strategy", "timestep-window:end=3"], ["no option 'end'"]),
        (["--strategy", "timestep-window:start=5,stop=5"], ["window 5-5", "0..2000"]),
        (["--strategy", "timestep-window:stop=3000"], ["window 0-3000"]),
        (["train.iteration=3"], ["did you mean 'train.iterations'"]),
        (["train.lr=fast"], ["train.lr='fast'"]),
        (["data.scale=5"], ["does not divide"]),
        (["train.iterations=[1,2,3]"], ["train.iterations=[1, 2, 3]"]),
        (["train.iterations=[0,0]"], ["train.iterations=[0, 0]"]),
        (["model.norm_groups=7"], ["norm_groups 7"]),
        (["model.channel_mults=[1,1,1,1,1,1,1]"], ["image_size 32"]),
        (["eval.steps=5000"], ["eval.steps=5000"]),
        (["eval.metrics=psnr,lpisp"], ["did you mean 'lpips'"]),
        (["--seed", "-3"], ["seed=-3"]),
        (["--seed", "99999999999999999999"], ["seed=99999999999999999999"]),
        (["diffusion.start=0.9"], ["diffusion.*"]),
        (["eval.eta=3"], ["eval.eta=3"]),
        (["--out", "/proc/nowhere/run"], ["choose another --out"]),
    ],
)
def test_bad_input_is_one_line(
    cli: Callable[..., Result], arguments: list[str], messages: list[str]
) -> None:
    refused(cli("run", "data.standin_images=8", *arguments), *messages)


@pytest.mark.run
def test_config_yaml_repeats_a_run_of_ones_own_stream_from_anywhere(
    cli: Callable[..., Result], tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mine.py").write_text(
        "from cl_sr.benchmarks import ANIMEF, CELEBA, Stream\n"
        "stream = Stream('backwards', 'anime first', (ANIMEF, CELEBA))\n"
    )
    result = cli("run", "--stream", "./mine.py", "--out", "run", *tiny)
    assert result.exit_code == 0, result.output
    config = Path("run", "config.yaml").resolve()
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert cli("run", "--dry-run", "--config", config).exit_code == 0


def test_a_configuration_that_contains_itself(cli: Callable[..., Result]) -> None:
    Path("loop.yaml").write_text("data: &a\n  root: *a\n")
    refused(cli("run", "--config", "loop.yaml"), "aliases (*name) are not taken")


def test_the_report_prints_where_only_western_letters_do(tmp_path: Path) -> None:
    run = writer(tmp_path)("run", "finetune", FINETUNE)
    code = "from cl_sr.cli.main import main; main(prog_name='cl-sr')"
    result = subprocess.run(
        [sys.executable, "-c", code, "report", str(run)],
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
        capture_output=True,
    )
    assert result.returncode == 0, result.stderr
    assert "after animef" in result.stdout.decode("cp1252")


def test_a_report_that_cannot_be_written_is_shown(
    cli: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = writer(tmp_path / "made")("run", "finetune", FINETUNE)

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("cl_sr.reporting.publish.write_text", full)
    result = cli("report", run)
    assert "after animef" in result.stdout
    refused(result, "shown but not written")


def test_a_device_that_is_not_there(cli: Callable[..., Result]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("has a CUDA device")
    refused(cli("run", "--device", "cuda"), "no cuda device", "--device cpu")


def test_reports_of_what_is_no_run(cli: Callable[..., Result]) -> None:
    refused(cli("report", "nowhere"), "is not a run")
    refused(cli("list", "stream"), "did you mean 'streams'")
    assert cli("rnu").exit_code == 2


@pytest.mark.run
@pytest.mark.slow
def test_ctrl_c_stops_cleanly(tmp_path: Path, tiny: list[str]) -> None:
    code = "from cl_sr.cli.main import main; main(prog_name='cl-sr')"
    arguments = ["run", "--out", "run", *tiny, "train.iterations=100000", "eval.every=5"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"},
    )
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.is_file() and len(metrics.read_text().splitlines()) > 4):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "cl-sr run --resume run" in output
    assert "Traceback" not in output
    assert "interrupted at iteration" in (tmp_path / "run" / "report.md").read_text()
    assert list((tmp_path / "run" / "checkpoints").glob("iteration-*/model.safetensors"))
