"""The report of one run, as text, and what it is built from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console
from run_folders import make_run

from cl_sr.errors import InputError
from cl_sr.evaluation import ForgettingMatrix
from cl_sr.reporting import Report, build_report, publish_run
from cl_sr.reporting.tables import forgetting_table, matrix_table
from cl_sr.runs.folder import RunFolder
from cl_sr.runs.record import Record


def write_report(folder: RunFolder) -> Report:
    report = read_report(folder)
    publish_run(report)
    return report


def read_report(folder: RunFolder) -> Report:
    return build_report(Record(folder.path))


def test_report_md_has_the_figures_and_what_they_depend_on(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    write_report(folder)
    text = (folder.path / "report.md").read_text(encoding="utf-8")
    assert "| after celeba | 23.25 | 15.50 |" in text
    assert "| bicubic upsampling | 20.50 | 16.25 |" in text
    assert "| celeba (stand-in) | PSNR | +5.25 | +4.25 | +4.25 | -1.50 |" in text
    assert (
        "Since celeba (stand-in) was learnt, animef (stand-in) gained +2.25 dB; "
        "celeba (stand-in) forgot 4.25 dB."
    ) in text
    assert "| domain | metric | gain | forgetting | from best | vs bicubic |" in text
    for part in ("rgb8", "bicubic", "x4", "ddim, 5 of 2000 steps", "celeba 64", "seed 3"):
        assert part in text
    assert "celeba: 12 exact copies (kept on one side), 3 unreadable files (skipped)." in text
    assert (
        "celeba: 9 files of lr_8, sr_8_32 were left out (the same images at other sizes)." in text
    )
    assert "animef: 0" not in text
    assert "stand-in images" in text.splitlines()[0]
    assert "Unfinished" not in text


def test_the_pictures_are_pictures(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    write_report(folder)
    for name in ("curves.png", "samples.png"):
        with Image.open(folder.path / name) as image:
            assert min(image.size) > 300
            colours = image.convert("RGB").getcolors(1_000_000)
            assert colours is not None
            assert len(colours) > 50


def test_an_unfinished_run_says_so(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", state="interrupted")
    report = write_report(folder)
    assert "interrupted at iteration 10 of 20" in report.state
    assert "Unfinished" in (folder.path / "report.md").read_text(encoding="utf-8")
    console = Console(record=True, width=100)
    report.show(console)
    assert "interrupted at iteration 10 of 20" in console.export_text()


def test_a_run_that_measured_nothing_has_a_report(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder.path / "matrix.csv").unlink()
    (folder.path / "metrics.jsonl").unlink()
    assert "Nothing was evaluated" in write_report(folder).headline


def test_metrics_where_lower_is_better_keep_their_sign_straight() -> None:
    matrix = ForgettingMatrix("lpips", higher_is_better=False)
    for after, value in (("bicubic", 0.5), ("celeba", 0.2), ("animef", 0.3)):
        matrix.record(after, "celeba", value)
    assert "lower is better" in matrix_table(matrix, {}).head[0]
    (row,) = forgetting_table([matrix], {}).rows
    assert row[2:] == ["-", "+0.1000", "+0.1000", "+0.2000"]  # not evaluated before training


@pytest.mark.parametrize("width", [60, 120])
def test_the_terminal_shows_every_figure(tmp_path: Path, width: int) -> None:
    console = Console(record=True, width=width)
    write_report(make_run(tmp_path / "run")).show(console)
    text = console.export_text()
    for figure in ("23.25", "19.00", "+4.25", "+5.25"):
        assert figure in text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.yaml", "a: ["),
        ("config.yaml", "seed: 1"),
        ("status.json", "{}"),
        ("env.json", "[1"),
        ("matrix.csv", "metric,after\npsnr"),
        ("matrix.csv", "metric,after,domain,value\npsnr,init,celeba,many"),
    ],
)
def test_a_damaged_run_is_told_in_one_line(tmp_path: Path, name: str, text: str) -> None:
    folder = make_run(tmp_path / "run")
    (folder.path / name).write_text(text)
    with pytest.raises(InputError, match="damaged or incomplete"):
        read_report(folder)


@pytest.mark.parametrize(
    ("name", "text", "asked"),
    [
        ("config.yaml", "a: [", "config"),
        ("config.yaml", "seed: many", "settings"),
        ("config.yaml", "stream: celeba-anime", "strategy"),
        ("status.json", "{}", "state"),
        ("status.json", "[]", "status"),
        ("env.json", "{}", "domains"),
        ("env.json", "{}", "matrices"),
        ("matrix.csv", "metric,after\npsnr", "matrices"),
        ("matrix.csv", "metric,after,domain,value\npsnr,init,celeba,many", "matrices"),
        ("windows.csv", "after,domain,start,stop,error\na,a,0,many,1", "windows"),
        ("windows.csv", "after,domain\na,a", "windows"),
        ("images.csv", "after,domain,image,psnr\na,a,0,many", "images"),
        ("images.csv", "a,b\n1,2", "images"),
        ("manifest.csv", "domain\nceleba", "hashes"),
        ("costs.json", "[1", "costs"),
    ],
)
def test_a_record_tells_which_file_is_damaged(
    tmp_path: Path, name: str, text: str, asked: str
) -> None:
    folder = make_run(tmp_path / "run")
    (folder.path / name).write_text(text)
    with pytest.raises(InputError, match=re.escape(name)):
        getattr(Record(folder.path), asked)


def test_the_text_is_plain_enough_for_any_terminal(tmp_path: Path) -> None:
    report = read_report(make_run(tmp_path / "run"))
    (report.title + report.headline + report.protocol).encode("ascii")
    "".join(cell for table in report.tables for row in table.rows for cell in row).encode("ascii")


def test_what_leaks_is_told_by_images_with_and_without_copies(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    environment = folder.read_json("env.json")
    environment["data"]["animef"]["leaked"] = 1
    folder.write_json("env.json", environment)
    folder.write(
        "manifest.csv",
        "domain,side,sha256\ncelebA,train,x\nanimef,train,a\nanimef,test,b\nanimef,test,a\n"
        "animef,test,c\n",
    )
    # 16.25 on average by bicubic, 17.75 at the end; the second image is a copy.
    folder.write(
        "images.csv",
        "after,domain,image,psnr\n"
        "bicubic,animef,0,16\nbicubic,animef,1,16.75\nbicubic,animef,2,16\n"
        "animef,animef,0,17\nanimef,animef,1,19\nanimef,animef,2,17.25\n",
    )
    (table,) = [table for table in read_report(folder).tables if table.title == "What leaks"]
    assert table.rows == [
        ["animef (stand-in), copies of training images", "1", "+2.25"],
        ["animef (stand-in), others", "2", "+1.12 ± 0.12"],
    ]


def test_images_that_do_not_agree_with_the_matrix_are_damage(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    folder.write("images.csv", "after,domain,image,psnr\nbicubic,animef,0,16\n")
    with pytest.raises(InputError, match=r"does not agree with matrix\.csv"):
        read_report(folder)
