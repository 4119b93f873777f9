"""Comparisons of runs, against figures worked by hand."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from cl_sr.cli.main import main
from cl_sr.config import read_preset, resolve
from cl_sr.errors import InputError
from cl_sr.reporting.comparison import Comparison, Row
from cl_sr.reporting.comparison import compare as compare_found
from cl_sr.reporting.finished import find_runs
from cl_sr.reporting.tables import Table

# PSNR of two images of each domain, after each experience.
FINETUNE = {
    ("bicubic", "celeba"): [20.0, 22.0],
    ("bicubic", "animef"): [17.0, 18.0],
    ("celeba", "celeba"): [22.0, 24.0],
    ("celeba", "animef"): [17.0, 19.0],
    ("animef", "celeba"): [20.0, 21.0],
    ("animef", "animef"): [18.0, 20.0],
}
BETTER = FINETUNE | {
    ("animef", "celeba"): [22.0, 23.5],
    ("animef", "animef"): [17.5, 20.0],
}
JOINT = {
    ("bicubic", "celeba"): [20.0, 22.0],
    ("bicubic", "animef"): [17.0, 18.0],
    ("celeba+animef", "celeba"): [23.0, 25.0],
    ("celeba+animef", "animef"): [18.0, 22.0],
}

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes the folder of a finished run."""

    def make(
        name: str,
        strategy: str,
        values: dict[tuple[str, str], list[float]],
        seed: int = 0,
        seconds: float = 10.0,
        kept: int = 0,
        errors: tuple[float, float] = (0.1, 0.1),
        **changes: Any,
    ) -> Path:
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        config = read_preset("demo") | {"strategy": strategy, "seed": seed}
        overrides = [f"{key.replace('__', '.')}={value}" for key, value in changes.items()]
        (folder / "config.yaml").write_text(resolve(config, overrides).to_yaml())
        (folder / "status.json").write_text('{"state": "finished", "iteration": 1, "of": 1}')
        domain = {"source": "stand-in"}
        environment = {
            "data": {"celeba": domain, "animef": domain},
            "manifest_sha256": "x",
            "metrics": {"psnr": True},
        }
        (folder / "env.json").write_text(json.dumps(environment))
        (folder / "manifest.csv").write_text("domain,side,sha256\nceleba,test,a\nanimef,test,b\n")
        lines = ["after,domain,image,psnr"]
        for (after, name_), images in values.items():
            lines += [f"{after},{name_},{k},{value}" for k, value in enumerate(images)]
        (folder / "images.csv").write_text("\n".join(lines) + "\n")
        rows = list(dict.fromkeys(after for after, _ in values))[1:]
        records = [
            {
                "trained_on": after,
                "domain": d,
                "psnr": sum(images) / 2,
                "experience_iteration": 5 if after != "bicubic" else 0,
            }
            for (after, d), images in values.items()
        ]
        records += [r | {"experience_iteration": 2} for r in records if r["trained_on"] == "animef"]
        text = "".join(json.dumps(record) + "\n" for record in records[2:])
        (folder / "metrics.jsonl").write_text(text)
        costs = {
            row: {
                "seconds": seconds,
                "iterations": 5,
                "extra_parameters": 3 * k,
                "kept_bytes": kept if k == 0 else 77,
            }
            for k, row in enumerate(rows)
        }
        (folder / "costs.json").write_text(json.dumps(costs))
        windows = ["after,domain,start,stop,error"]
        if "animef" in rows:
            windows += [f"celeba,celeba,0,200,{errors[0]}", f"animef,celeba,0,200,{errors[1]}"]
        (folder / "windows.csv").write_text("\n".join(windows) + "\n")
        return folder

    return make


def drop(file: Path, beginning: str) -> None:
    lines = [line for line in file.read_text().splitlines() if not line.startswith(beginning)]
    file.write_text("\n".join(lines) + "\n")


def compare(*paths: Path) -> dict[str, Row]:
    found = find_runs(paths)
    assert not found.left_out
    return {row.label: row for row in Comparison(found.runs).rows}


def test_the_figures_by_hand(write: Write) -> None:
    rows = compare(
        write("a", "finetune", FINETUNE, errors=(0.1, 0.2)),
        write("b", "replay", BETTER, seconds=12.0, kept=480),
    )
    plain, replay = rows["finetune"], rows["replay"]
    assert plain.source["psnr"].value == 20.5
    assert plain.forgetting["psnr"].value == 2.5
    assert plain.gain["psnr"].value == 1.0
    assert plain.windows == {(0, 200): pytest.approx(10 * math.log10(2))}
    assert replay.source["psnr"].value == 22.75
    assert replay.target["psnr"].value == 18.75
    assert replay.forgetting["psnr"].value == pytest.approx(0.25)
    assert replay.gain["psnr"].value == pytest.approx(0.75)
    assert replay.share["psnr"].value == pytest.approx(0.75)
    assert replay.against["psnr"].value == pytest.approx(2.25)
    assert replay.time == pytest.approx(1.2)
    assert replay.kept == 480  # while the last domain was learnt, not after it
    assert replay.parameters == 3
    assert replay.curves["psnr"] == {
        "celeba": [(0, 23.0), (2, 22.75), (5, 22.75)],
        "animef": [(0, 18.0), (2, 18.75), (5, 18.75)],
    }
    assert next(iter(rows)) == "finetune"


def test_intervals_are_those_of_all_resamplings(write: Write) -> None:
    # With two images a resampling has (1, 1), (1, 2), (2, 2) with chances 1/4, 1/2, 1/4.
    row = compare(write("a", "finetune", FINETUNE), write("b", "replay", BETTER))["replay"]
    figure = row.forgetting["psnr"]
    assert (figure.low, figure.high) == (0.0, 0.5)
    share = row.share["psnr"]
    assert (share.low, share.high) == pytest.approx((0.5, 1.0))
    against = row.against["psnr"]
    assert (against.low, against.high) == pytest.approx((2.0, 2.5))


def test_pairing_makes_the_interval_of_equal_runs_a_point(write: Write) -> None:
    rows = compare(write("a", "finetune", FINETUNE), write("b", "same", FINETUNE))
    for figure in (rows["same"].against["psnr"], rows["same"].share["psnr"]):
        assert figure.low == figure.value == figure.high


def test_seeds_are_averaged_and_paired_with_their_own(write: Write) -> None:
    low = {place: [v - 1 for v in values] for place, values in FINETUNE.items()}
    low |= {place: values for place, values in FINETUNE.items() if place[0] == "bicubic"}
    rows = compare(
        write("a", "finetune", FINETUNE, seed=0),
        write("b", "finetune", low, seed=1),
        write("c", "replay", BETTER, seed=1),
    )
    assert rows["finetune"].seeds == (0, 1)
    assert rows["finetune"].source["psnr"].value == 20.0
    assert rows["replay"].against["psnr"].value == pytest.approx(22.75 - 19.5)


def test_joint_training_is_measured_from_fine_tunings_rows(write: Write) -> None:
    joint = compare(write("a", "finetune", FINETUNE), write("b", "joint", JOINT))["joint"]
    assert joint.forgetting["psnr"].value == pytest.approx(23.0 - 24.0)
    assert joint.gain["psnr"].value == pytest.approx(20.0 - 18.0)
    assert joint.share["psnr"].value == pytest.approx(2.0)


def test_without_fine_tuning_there_is_no_share(write: Write) -> None:
    row = compare(write("b", "replay", BETTER))["replay"]
    assert math.isnan(row.share["psnr"].value)
    assert math.isnan(row.time)
    assert row.forgetting["psnr"].value == pytest.approx(0.25)
    alone = compare(write("c", "joint", JOINT))["joint"]
    assert math.isnan(alone.forgetting["psnr"].value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eval__steps": 7}, "eval.steps is 5 and 7"),
        ({"data__kernel": "area"}, "data.kernel"),
        ({"stream": "celeba-anime-df2k"}, "stream"),
        ({"eval__split": "validation"}, "eval.split is test and validation"),
        ({"train__iterations": "[600, 900]"}, "train.iterations after the first domain"),
        ({"train__iterations": "[700, 400]"}, "of the first domain are 600 and 700"),
        ({"train__lr": 1e-3}, "train.lr"),
        ({"train__clip": 0.5}, "train.clip is 1.0 and 0.5"),
        ({"diffusion__schedule": "cosine"}, "diffusion.schedule is linear and cosine"),
        ({"model__inner_channel": 64}, "model.inner_channel"),
    ],
)
def test_runs_of_different_protocols_do_not_compare(
    write: Write, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        compare(write("a", "finetune", FINETUNE), write("b", "replay", BETTER, **changes))


def test_the_same_seed_twice_is_refused(write: Write) -> None:
    with pytest.raises(InputError, match="both replay with seed 0"):
        compare(write("a", "replay", FINETUNE), write("b", "replay", BETTER))


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


def test_less_is_better(write: Write) -> None:
    """The same numbers as a metric of which less is better: forgetting and gain change sign."""
    runs = [write("a", "finetune", BETTER), write("b", "replay", FINETUNE)]
    for run in runs:
        environment = json.loads((run / "env.json").read_text())
        environment["metrics"] = {"psnr": False}
        (run / "env.json").write_text(json.dumps(environment))
    row = compare(*runs)["replay"]
    assert row.source["psnr"].value == 20.5
    assert row.forgetting["psnr"].value == -2.5
    assert row.gain["psnr"].value == -1.0
    assert row.against["psnr"].value == pytest.approx(2.25)
    assert math.isnan(row.share["psnr"].value)  # fine-tuning gained nothing that way


def test_a_share_of_a_gain_that_may_be_none_is_not_shown(write: Write) -> None:
    unsure = FINETUNE | {("animef", "animef"): [16.9, 20.0]}
    rows = compare(write("a", "finetune", unsure), write("b", "replay", BETTER))
    assert math.isnan(rows["replay"].share["psnr"].value)


def test_runs_from_other_weights_are_told(write: Write, tmp_path: Path) -> None:
    write("a", "finetune", FINETUNE)
    other = write("b", "replay", BETTER | {("celeba", "celeba"): [22.0, 24.1]})
    result = CliRunner().invoke(main, ["compare", str(tmp_path / "runs")])
    assert f"{other} began the second domain from other weights" in result.stderr


def test_times_of_different_clocks_do_not_compare(write: Write) -> None:
    one, two = write("a", "finetune", FINETUNE), write("b", "replay", BETTER)
    costs = json.loads((two / "costs.json").read_text())
    for cost in costs.values():
        cost["clock"] = "cpu"
    (two / "costs.json").write_text(json.dumps(costs))
    assert math.isnan(compare(one, two)["replay"].time)


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


# What else may tell rows apart


def rows_by(paths: list[Path], by: list[str], baseline: dict[str, Any] | None = None) -> list[Row]:
    return Comparison(find_runs(paths).runs, by, baseline).rows


def test_rows_by_another_key_and_shares_of_its_baseline(write: Write) -> None:
    runs = [
        write("a", "finetune", FINETUNE, train__lr=1e-3),
        write("b", "finetune", BETTER, train__lr=1e-4),
    ]
    few, many = rows_by(runs, ["train.lr"], {"train.lr": 1e-4})
    assert (few.label, few.baseline) == ("lr 0.0001", True)
    assert (many.label, many.baseline) == ("lr 0.001", False)
    assert many.share["psnr"].value == pytest.approx(1 / 0.75)


def test_rows_by_a_mapping_are_called_by_its_parts(write: Write) -> None:
    runs = [
        write("a", "finetune", FINETUNE, data__shares={"animef": 0.1, "celeba": 1.0}),
        write("b", "finetune", BETTER, data__shares={"animef": 1.0}),
    ]
    labels = [row.label for row in rows_by(runs, ["data.shares"], {"data.shares": {"animef": 1.0}})]
    assert labels == ["shares animef 1.0", "shares animef 0.1, celeba 1.0"]


def test_two_keys_and_a_baseline_of_each_value_of_the_other(write: Write) -> None:
    runs = [
        write("a", "finetune", FINETUNE, train__lr=1e-3),
        write("b", "replay", BETTER, train__lr=1e-3),
        write("c", "finetune", BETTER, train__lr=1e-4),
        write("d", "replay", BETTER, train__lr=1e-4),
    ]
    found = {row.label: row for row in rows_by(runs, ["strategy", "train.lr"])}
    assert list(found) == [
        "finetune, lr 0.001",
        "finetune, lr 0.0001",
        "replay, lr 0.001",
        "replay, lr 0.0001",
    ]
    assert found["replay, lr 0.001"].share["psnr"].value == pytest.approx(0.75)
    assert found["replay, lr 0.0001"].share["psnr"].value == pytest.approx(1.0)


def test_a_table_over_the_iterations(write: Write) -> None:
    comparison = Comparison(find_runs([write("a", "finetune", FINETUNE)]).runs)
    table = comparison.tables()[-1]
    assert table.title == "Over the iterations of learning animef: finetune"
    assert table.head == ["iterations", "celeba PSNR (dB)", "animef PSNR (dB)"]
    assert table.rows == [["0", "23.00", "18.00"], ["2", "20.50", "19.00"], ["5", "20.50", "19.00"]]


def test_what_does_not_change_the_figures_may_differ(write: Write) -> None:
    changes: dict[str, Any] = {
        "device": "cpu", "train__workers": 2, "checkpoint__minutes": 1, "eval__samples": 1,
        "eval__every": 7, "train__iterations": "[0, 400]", "init": "/w", "data__memory_gb": 1,
        "diffusion__schedule": "init",
    }  # fmt: skip
    runs = [write("a", "finetune", FINETUNE), write("b", "replay", BETTER, **changes)]
    assert len(rows_by(runs, ["strategy"])) == 2


def test_one_key_of_a_section_does_not_free_the_others(write: Write) -> None:
    runs = [
        write("a", "finetune", FINETUNE),
        write("b", "finetune", BETTER, model__dropout=0.1, model__inner_channel=64),
    ]
    with pytest.raises(InputError, match=r"model\.inner_channel is 32 and 64"):
        rows_by(runs, ["model.dropout"])


def test_rows_of_different_seeds_are_told(write: Write) -> None:
    runs = [
        write("a", "finetune", FINETUNE, seed=0),
        write("b", "finetune", FINETUNE, seed=1),
        write("c", "replay", BETTER, seed=1),
    ]
    comparison = Comparison(find_runs(runs).runs)
    assert [row[1] for row in comparison.tables()[0].rows] == ["0 1", "1", "-"]
    assert "Rows are of different seeds" in comparison.protocol


def other_images(run: Path) -> Path:
    lines = ["domain,side,sha256", "celeba,test,a", "animef,test,c", "animef,test,d"]
    (run / "manifest.csv").write_text("\n".join(lines) + "\n")
    environment = json.loads((run / "env.json").read_text())
    (run / "env.json").write_text(json.dumps(environment | {"manifest_sha256": "y"}))
    return run


def test_rows_of_other_images_are_not_paired(write: Write) -> None:
    runs = [
        write("a", "finetune", FINETUNE),
        other_images(write("b", "finetune", BETTER, data__split="random")),
    ]
    with pytest.raises(InputError, match=r"data\.split is content and random; --by data\.split"):
        rows_by(runs, ["strategy"])
    comparison = Comparison(find_runs(runs).runs, ["data.split"], {"data.split": "content"})
    content, random = comparison.rows
    assert math.isnan(random.share["psnr"].value)
    assert random.forgetting["psnr"].value == pytest.approx(0.25)
    assert random.over["psnr"].value == pytest.approx(18.75 - 17.5)
    table = comparison.tables()[0]
    assert "vs bicubic" in table.head
    assert [row[0] for row in table.rows] == ["split content", "split random"]
    assert "train.lr" not in comparison.protocol
    assert content.baseline
    assert comparison.headline.count("dB") == 4


def test_what_leaks_is_averaged_over_the_seeds(write: Write) -> None:
    runs = [
        write(name, "finetune", values, seed=seed, data__split="random")
        for seed, (name, values) in enumerate([("a", FINETUNE), ("b", BETTER)])
    ]
    for run in runs:
        (run / "manifest.csv").write_text(
            "domain,side,sha256\nanimef,train,a\ncelebA,test,a\nanimef,test,a\nanimef,test,b\n"
            "celeba,test,a\n"
        )
    comparison = Comparison(find_runs(runs).runs, ["strategy"])
    (table,) = (table for table in comparison.tables() if table.title == "What leaks")
    # Copy: (18 + 17.5) / 2 - 17; the other: 20 - 18.
    assert [row[2] for row in table.rows] == ["+0.75", "+2.00"]
    assert [row[0] for row in table.rows] == [
        "finetune, copies of training images",
        "finetune, others",
    ]


def test_metrics_and_batches_of_the_evaluation_may_differ(write: Write) -> None:
    """A further metric of one run, and what another device rounds otherwise, part no pairs."""
    runs = [
        write("a", "finetune", FINETUNE, eval__batch_size=3),
        write("b", "replay", BETTER, eval__metrics="psnr"),
    ]
    images = runs[1] / "images.csv"
    head, first, *rest = images.read_text().splitlines()
    assert first == "bicubic,celeba,0,20.0"
    lines = [f"{head},lpips", "bicubic,celeba,0,20.0000000001,0.5", *(f"{r},0.5" for r in rest)]
    images.write_text("\n".join(lines) + "\n")
    environment = json.loads((runs[1] / "env.json").read_text())
    metrics = {"metrics": {"psnr": True, "lpips": False}}
    (runs[1] / "env.json").write_text(json.dumps(environment | metrics))
    comparison = Comparison(find_runs(runs).runs)
    assert not comparison.mixed
    assert not comparison.apart
    assert comparison.metrics == ["psnr"]
    assert comparison.rows[1].share["psnr"].value == pytest.approx(0.75)
    assert "bicubic upsampling" in [row[0] for row in comparison.tables()[0].rows]


def test_what_follows_a_first_domain_that_was_trained_elsewhere_takes_time_too(
    write: Write,
) -> None:
    """As in a sweep: 10 s of learning, and 2 s of remembering the first domain for one of them."""
    runs = [write("a", "finetune", FINETUNE), write("b", "ewc", BETTER)]
    for run, seconds in zip(runs, (0.0, 2.0), strict=True):
        costs = json.loads((run / "costs.json").read_text())
        costs["celeba"] |= {"iterations": 0, "seconds": seconds}
        (run / "costs.json").write_text(json.dumps(costs))
    assert compare(*runs)["ewc"].time == pytest.approx(1.2)


def test_rows_with_other_windows_are_drawn(write: Write, tmp_path: Path) -> None:
    """As those of another T are."""
    runs = [write("a", "finetune", FINETUNE), write("b", "finetune", BETTER, diffusion__steps=100)]
    text = (runs[1] / "windows.csv").read_text()
    (runs[1] / "windows.csv").write_text(text.replace("0,200,", "0,20,"))
    arguments = [*map(str, runs), "--by", "diffusion.steps", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, ["compare", *arguments])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "windows.png").is_file()


def test_another_stream_is_told_to_be_compared_by_itself(write: Write) -> None:
    runs = [write("a", "finetune", FINETUNE), write("b", "replay", BETTER, stream="celeba-df2k")]
    with pytest.raises(InputError, match="--by stream compares each by itself"):
        Comparison(find_runs(runs).runs, ["strategy"])


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


def test_other_images_are_refused(write: Write) -> None:
    runs = [write("a", "finetune", FINETUNE), other_images(write("b", "replay", BETTER))]
    with pytest.raises(InputError, match="other images of animef"):
        rows_by(runs, ["strategy"])


ONE = {
    ("bicubic", "imagenet"): [20.0, 22.0],
    ("imagenet", "imagenet"): [21.0, 23.5],
}


def test_a_stream_of_one_domain_is_compared_with_bicubic(write: Write) -> None:
    run = write("a", "finetune", ONE, stream="imagenet")
    environment = json.loads((run / "env.json").read_text())
    environment["data"] = {"imagenet": {"source": "folder"}}
    (run / "env.json").write_text(json.dumps(environment))
    comparison = Comparison(find_runs([run]).runs)
    assert comparison.title == "imagenet: results by strategy"
    (table,) = comparison.tables()
    assert table.head == ["strategy", "seeds", "imagenet", "vs bicubic"]
    assert table.rows[0][3] == "+1.25 ± 0.25"
    assert table.rows[1] == ["bicubic upsampling", "-", "21.00 ± 1.00", "-"]
    assert re.fullmatch(r"finetune reaches 22\.25 .* dB on imagenet\.", comparison.headline)


def sweep(folder: Path, members: dict[str, dict[str, Any]], keys: list[str]) -> Path:
    description = {"name": "mine", "title": "Mine", "keys": keys, "baseline": {}}
    (folder / "sweep.json").write_text(json.dumps(description | {"members": members}))
    return folder


def test_a_sweep_tells_what_is_varied(write: Write, tmp_path: Path) -> None:
    write("a", "finetune", FINETUNE, train__iterations="[0, 400]")
    write("b", "finetune", BETTER, train__iterations="[0, 900]")
    members = {"a": {"train.iterations": [9, 400]}, "b": {"train.iterations": [9, 900]}}
    folder = sweep(tmp_path / "runs", members, ["train.iterations"])
    (comparison,) = compare_found(find_runs([folder]))
    assert [row.label for row in comparison.rows] == [
        "iterations [9, 400]",
        "iterations [9, 900]",
    ]


def test_a_sweep_over_streams_has_a_comparison_of_each(write: Write, tmp_path: Path) -> None:
    far = {(a.replace("animef", "df2k-ost"), d.replace("animef", "df2k-ost")): v
           for (a, d), v in FINETUNE.items()}  # fmt: skip
    write("a", "finetune", FINETUNE)
    run = write("b", "finetune", far, stream="celeba-df2k")
    environment = json.loads((run / "env.json").read_text())
    environment["data"] = {name: {"source": "folder"} for name in ("celeba", "df2k-ost")}
    (run / "env.json").write_text(json.dumps(environment))
    drop(run / "windows.csv", "animef")
    folder = sweep(tmp_path / "runs", {"a": {}, "b": {}, "c": {}}, ["stream", "strategy"])
    out = tmp_path / "out"
    result = CliRunner().invoke(main, ["compare", str(folder), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "left out" in result.stderr  # the member that has not been run
    assert (out / "celeba-anime-comparison.csv").is_file()
    assert (out / "celeba-df2k-comparison.csv").is_file()
    page = (out / "report.html").read_text()
    assert "Not all runs are in it" in page
    assert page.count("<h2") == 4
