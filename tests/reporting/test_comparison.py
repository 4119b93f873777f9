"""Comparisons in words, tables and files, and the command that makes them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from finished_runs import (
    BETTER,
    FINETUNE,
    ONE,
    THREE,
    Values,
    Write,
    drop,
    other_images,
    write_lines,
    write_sweep,
    writer,
)
from rich.console import Console

from cl_sr.cli.main import main
from cl_sr.reporting import build_report
from cl_sr.reporting.comparison import ComparisonReport
from cl_sr.reporting.tables import Table
from cl_sr.runs.record import Record
from cl_sr.sweeps.comparison import Comparison
from cl_sr.sweeps.finished import find_runs
from cl_sr.yaml_text import dump_yaml, read_yaml


@pytest.fixture
def write(tmp_path: Path) -> Write:
    return writer(tmp_path)


def report_of(
    runs: list[Path], by: tuple[str, ...] = ("strategy",), baseline: dict[str, Any] | None = None
) -> ComparisonReport:
    return ComparisonReport(Comparison(find_runs(runs).runs, by, baseline))


def column(table: Table, row: str, name: str) -> str:
    (cells,) = [cells for cells in table.rows if cells[0] == row]
    return cells[table.head.index(name)]


def test_the_words_and_the_table_by_hand(write: Write) -> None:
    report = report_of([write("a", "finetune", FINETUNE), write("b", "replay", BETTER)])
    assert report.title == "celeba-anime, stand-ins: forgetting by strategy"
    assert report.headline == (
        "finetune forgets 2.50 ± 0.50 dB and gains 1.00 ± 0.00 dB. "
        "replay forgets 0.25 ± 0.25 dB and gains 0.75 ± 0.25 dB."
    )
    assert report.baseline_name == "plain fine-tuning"
    assert report.bicubic == {"celeba": 21.0, "animef": 17.5}
    table = report.tables[0]
    assert table.head == [
        "strategy", "seeds", "celeba", "animef", "forgetting", "gain", "share of gain",
    ]  # fmt: skip
    assert table.rows == [
        ["finetune", "1", "20.50 ± 0.50", "19.00 ± 1.00", "+2.50 ± 0.50", "+1.00 ± 0.00", "100 %"],
        ["replay", "1", "22.75 ± 0.75", "18.75 ± 1.25", "+0.25 ± 0.25", "+0.75 ± 0.25",
         "75 ± 25 %"],
        ["bicubic upsampling", "-", "21.00 ± 1.00", "17.50 ± 0.50", "-", "-", "-"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "stream", "row"),
    [
        (FINETUNE, "celeba-anime", "celeba (stand-in)"),
        (BETTER, "celeba-anime", "celeba (stand-in)"),
        (THREE, "celeba-anime-df2k", "mean of previous"),
    ],
)
def test_forgetting_is_the_same_number_in_a_runs_report_and_in_a_comparison(
    write: Write, values: Values, stream: str, row: str
) -> None:
    run = write("a", "finetune", values, stream=stream)
    (own,) = [table for table in build_report(Record(run)).tables if table.title == "Forgetting"]
    told = column(own, row, "forgetting")
    assert told == column(report_of([run]).tables[0], "finetune", "forgetting")
    assert re.fullmatch(r"\+\d\.\d\d ± \d\.\d\d", told)


def test_gain_is_the_same_number_in_a_runs_report_and_in_a_comparison(write: Write) -> None:
    run = write("a", "finetune", FINETUNE)
    (own,) = [table for table in build_report(Record(run)).tables if table.title == "Forgetting"]
    told = column(own, "animef (stand-in)", "gain")
    assert told == column(report_of([run]).tables[0], "finetune", "gain") == "+1.00 ± 0.00"


def test_from_best_is_more_than_forgetting_where_another_time_was_the_best(write: Write) -> None:
    """After animef, celeba was better than just after learning it."""
    run = write("a", "finetune", THREE, stream="celeba-anime-df2k")
    (own,) = [table for table in build_report(Record(run)).tables if table.title == "Forgetting"]
    # 23 and 23.5 - 21.75; 20 - 18.25, as it was best just after it was learnt.
    for name, forgetting, from_best in (
        ("celeba (stand-in)", "+1.25", "+1.75"),
        ("animef (stand-in)", "+1.75", "+1.75"),
        ("mean of previous", "+1.50", "+1.75"),
    ):
        assert column(own, name, "forgetting").split()[0] == forgetting
        assert column(own, name, "from best").split()[0] == from_best


def test_the_command(write: Write, tmp_path: Path) -> None:
    write("a", "finetune", FINETUNE)
    write("b", "replay:size=16", BETTER, kept=49152)
    unfinished = write("c", "ewc", BETTER)
    (unfinished / "status.json").write_text('{"state": "running", "iteration": 1, "of": 2}')
    out = tmp_path / "out"
    result = CliRunner().invoke(main, ["compare", str(tmp_path / "runs"), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "replay:size=16" in result.stdout
    assert "75 %" in result.stdout  # where there is little room, without its interval
    assert "49.2 kB" in result.stdout
    assert "is not finished" in result.stderr
    names = {path.name for path in out.iterdir()}
    assert names == {
        "report.html",
        "report.md",
        "comparison.csv",
        "tables",
        "trade-off.png",
        "curves.png",
        "windows.png",
    }
    text = (out / "report.md").read_text()
    assert "| replay:size=16 | 1 |" in text
    assert "75 ± 25 %" in text
    table = list(csv.DictReader(io.StringIO((out / "comparison.csv").read_text())))
    (share,) = [r for r in table if (r["row"], r["figure"]) == ("replay:size=16", "share")]
    assert np.isclose(float(share["value"]), 0.75)


def test_one_row_is_no_trade_off(write: Write, tmp_path: Path) -> None:
    run, out = write("a", "finetune", FINETUNE), tmp_path / "out"
    assert CliRunner().invoke(main, ["compare", str(run), "--out", str(out)]).exit_code == 0
    assert (out / "windows.png").is_file()
    assert not (out / "trade-off.png").exists()


def test_runs_from_other_weights_are_told(write: Write, tmp_path: Path) -> None:
    write("a", "finetune", FINETUNE)
    other = write("b", "replay", BETTER | {("celeba", "celeba"): [22.0, 24.1]})
    result = CliRunner().invoke(main, ["compare", str(tmp_path / "runs")])
    assert f"{other} began the second domain from other weights" in result.stderr


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: drop(run / "images.csv", "animef,celeba,1"), "has not all images of celeba"),
        (lambda run: drop(run / "images.csv", "animef,animef"), "damaged"),
        (lambda run: (run / "images.csv").unlink(), "has no images.csv"),
        (lambda run: (run / "images.csv").write_text("a,b\n1,2\n"), "damaged"),
        (lambda run: (run / "costs.json").write_text("[]"), "costs.json"),
        (lambda run: (run / "windows.csv").write_bytes(b"\xff"), "windows.csv"),
        (lambda run: (run / "status.json").unlink(), "no finished runs"),
    ],
)
def test_damaged_runs_are_told_in_a_line(
    write: Write, tmp_path: Path, damage: Callable[[Path], Any], message: str
) -> None:
    damage(write("a", "finetune", FINETUNE))
    result = CliRunner().invoke(main, ["compare", str(tmp_path / "runs")])
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_what_is_no_run_is_told(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "nowhere", "no folder"), (tmp_path, "no finished runs")):
        result = CliRunner().invoke(main, ["compare", str(path)])
        assert result.exit_code == 2
        assert message in result.stderr


def test_a_table_over_the_iterations(write: Write) -> None:
    table = report_of([write("a", "finetune", FINETUNE)]).tables[-1]
    assert table.title == "Over the iterations of learning animef: finetune"
    assert table.head == ["iterations", "celeba PSNR (dB)", "animef PSNR (dB)"]
    assert table.rows == [["0", "23.00", "18.00"], ["2", "20.50", "19.00"], ["5", "20.50", "19.00"]]


def test_rows_of_different_seeds_are_told(write: Write) -> None:
    runs = [
        write("a", "finetune", FINETUNE, seed=0),
        write("b", "finetune", FINETUNE, seed=1),
        write("c", "replay", BETTER, seed=1),
    ]
    report = report_of(runs)
    assert [row[1] for row in report.tables[0].rows] == ["0 1", "1", "-"]
    assert "Rows are of different seeds" in report.protocol


def test_rows_of_other_images_have_bicubic_beside_them(write: Write) -> None:
    runs = [
        write("a", "finetune", FINETUNE),
        other_images(write("b", "finetune", BETTER, data__split="random")),
    ]
    report = report_of(runs, ("data.split",), {"data.split": "content"})
    table = report.tables[0]
    assert "vs bicubic" in table.head
    assert column(table, "split random", "vs bicubic") == "+1.25 ± 0.75"
    assert [row[0] for row in table.rows] == ["split content", "split random"]
    assert report.bicubic == {}
    assert "train.lr" not in report.protocol
    assert report.headline.count("dB") == 4


def test_rows_of_the_same_images_have_bicubic_in_a_row(write: Write) -> None:
    runs = [write("a", "finetune", FINETUNE), write("b", "replay", BETTER)]
    table = report_of(runs).tables[0]
    assert "vs bicubic" not in table.head
    assert "bicubic upsampling" in [row[0] for row in table.rows]


def test_what_leaks_is_averaged_over_the_seeds(write: Write) -> None:
    runs = [
        write(name, "finetune", values, seed=seed, data__split="random")
        for seed, (name, values) in enumerate([("a", FINETUNE), ("b", BETTER)])
    ]
    for run in runs:
        lines = ["domain,side,sha256", "animef,train,a", "celebA,test,a", "animef,test,a",
                 "animef,test,b", "celeba,test,a"]  # fmt: skip
        write_lines(run / "manifest.csv", lines)
    (table,) = (table for table in report_of(runs).tables if table.title == "What leaks")
    # Copy: (18 + 17.5) / 2 - 17; the other: 20 - 18.
    assert [row[2] for row in table.rows] == ["+0.75", "+2.00"]
    assert [row[0] for row in table.rows] == [
        "finetune, copies of training images",
        "finetune, others",
    ]


def test_rows_with_other_windows_are_drawn(write: Write, tmp_path: Path) -> None:
    """As those of another T are."""
    runs = [write("a", "finetune", FINETUNE), write("b", "finetune", BETTER, diffusion__steps=100)]
    text = (runs[1] / "windows.csv").read_text()
    (runs[1] / "windows.csv").write_text(text.replace("0,200,", "0,20,"))
    arguments = [*map(str, runs), "--by", "diffusion.steps", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, ["compare", *arguments])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "windows.png").is_file()


def test_seeds_make_no_rows(write: Write) -> None:
    result = CliRunner().invoke(
        main, ["compare", str(write("a", "finetune", FINETUNE)), "--by=seed"]
    )
    assert result.exit_code == 2
    assert "are averaged" in result.stderr


def test_lists_in_the_names_of_rows_are_shown_in_a_narrow_terminal() -> None:
    table = Table("T", ["row", "value"], [["iterations [0, 500]", "1.00 ± 0.25 [0.5, 1.5]"]])
    shown = io.StringIO()
    table.show(Console(width=36, file=shown))
    text = shown.getvalue()
    assert "[0, 500]" in text
    assert "1.00" in text
    assert "0.5," not in text


def test_a_stream_of_one_domain_is_compared_with_bicubic(write: Write) -> None:
    report = report_of([write("a", "finetune", ONE, stream="imagenet", source="folder")])
    assert report.title == "imagenet: results by strategy"
    (table,) = report.tables
    assert table.head == ["strategy", "seeds", "imagenet", "vs bicubic"]
    assert table.rows[0][3] == "+1.25 ± 0.25"
    assert table.rows[1] == ["bicubic upsampling", "-", "21.00 ± 1.00", "-"]
    assert re.fullmatch(r"finetune reaches 22\.25 .* dB on imagenet\.", report.headline)


def test_a_sweep_over_streams_has_a_comparison_of_each(write: Write, tmp_path: Path) -> None:
    far = {(a.replace("animef", "df2k-ost"), d.replace("animef", "df2k-ost")): v
           for (a, d), v in FINETUNE.items()}  # fmt: skip
    write("a", "finetune", FINETUNE)
    run = write("b", "finetune", far, stream="celeba-df2k", source="folder")
    drop(run / "windows.csv", "df2k-ost")
    folder = write_sweep(tmp_path / "runs", {"a": {}, "b": {}, "c": {}}, ["stream", "strategy"])
    out = tmp_path / "out"
    result = CliRunner().invoke(main, ["compare", str(folder), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "left out" in result.stderr  # the member that has not been run
    assert (out / "celeba-anime-comparison.csv").is_file()
    assert (out / "celeba-df2k-comparison.csv").is_file()
    page = (out / "report.html").read_text()
    assert "Not all runs are in it" in page
    assert page.count("<h2") == 4


@pytest.mark.parametrize("command", ["compare", "report", "runs"])
def test_no_file_that_a_run_names_is_imported(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    evil = tmp_path / "evil.py"
    evil.write_text("import pathlib\npathlib.Path('executed').touch()\n")
    run = write("a", "finetune", FINETUNE)
    config = read_yaml(run / "config.yaml")
    config |= {"stream": str(evil), "strategy": [{str(evil): {"size": 3}}]}
    config["model"] = {"family": str(evil), "width": 8}
    (run / "config.yaml").write_text(dump_yaml(config))
    result = CliRunner().invoke(main, [command, str(run)])
    assert result.exit_code == 0, result.output
    assert "23.00" in result.stdout or command == "runs"
    assert not Path("executed").exists()
