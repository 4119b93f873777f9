"""The numbers of comparisons, against figures worked by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from finished_runs import (
    BETTER,
    FINETUNE,
    JOINT,
    THREE,
    Write,
    change,
    other_images,
    write_lines,
    write_sweep,
    writer,
)

from cl_sr.errors import InputError
from cl_sr.sweeps.comparison import FIGURES, Comparison, Row
from cl_sr.sweeps.comparison import compare as compare_found
from cl_sr.sweeps.finished import find_runs
from cl_sr.yaml_text import dump_yaml, read_yaml


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes finished runs, and no sweep's file as beside this module."""
    return writer(tmp_path)


def compare(*paths: Path) -> dict[str, Row]:
    found = find_runs(paths)
    assert not found.left_out
    return {row.label: row for row in Comparison(found.runs).rows}


def rows_by(paths: list[Path], by: list[str], baseline: dict[str, Any] | None = None) -> list[Row]:
    return Comparison(find_runs(paths).runs, by, baseline).rows


def test_the_figures_by_hand(write: Write) -> None:
    rows = compare(
        write("a", "finetune", FINETUNE, errors=(0.1, 0.2)),
        write("b", "replay", BETTER, seconds=12.0, kept=480),
    )
    plain, replay = rows["finetune"], rows["replay"]
    assert plain.psnr("source").value == 20.5
    assert plain.psnr("forgetting").value == 2.5
    assert plain.psnr("gain").value == 1.0
    assert plain.windows == {(0, 200): pytest.approx(10 * math.log10(2))}
    assert replay.psnr("source").value == 22.75
    assert replay.psnr("target").value == 18.75
    assert replay.psnr("over").value == pytest.approx(18.75 - 17.5)
    assert replay.psnr("forgetting").value == pytest.approx(0.25)
    assert replay.psnr("gain").value == pytest.approx(0.75)
    assert replay.psnr("share").value == pytest.approx(0.75)
    assert replay.psnr("against").value == pytest.approx(2.25)
    assert replay.time == pytest.approx(1.2)
    assert replay.kept == 480  # while the last domain was learnt, not after it
    assert replay.parameters == 3
    assert replay.curves["psnr"] == {
        "celeba": [(0, 23.0), (2, 22.75), (5, 22.75)],
        "animef": [(0, 18.0), (2, 18.75), (5, 18.75)],
    }
    assert next(iter(rows)) == "finetune"
    assert all(set(row.figures) == set(FIGURES) for row in rows.values())
    assert replay.psnr("share") is replay.figures["share"]["psnr"]


def test_three_domains_by_hand(write: Write) -> None:
    """Gains count from just after the first domain, forgetting from just after each."""
    (row,) = compare(write("a", "finetune", THREE, stream="celeba-anime-df2k")).values()
    assert row.psnr("source").value == pytest.approx((21.75 + 18.25) / 2)
    assert row.psnr("target").value == 20.5
    assert row.psnr("forgetting").value == pytest.approx(((23 - 21.75) + (20 - 18.25)) / 2)
    # The third had lost 4.5 dB before it was learnt: they are not gained by learning it.
    assert row.psnr("gain").value == pytest.approx(((20 - 18) + (20.5 - 19)) / 2)


def test_intervals_are_those_of_all_resamplings(write: Write) -> None:
    # With two images a resampling has (1, 1), (1, 2), (2, 2) with chances 1/4, 1/2, 1/4.
    row = compare(write("a", "finetune", FINETUNE), write("b", "replay", BETTER))["replay"]
    figure = row.psnr("forgetting")
    assert (figure.low, figure.high) == (0.0, 0.5)
    share = row.psnr("share")
    assert (share.low, share.high) == pytest.approx((0.5, 1.0))
    against = row.psnr("against")
    assert (against.low, against.high) == pytest.approx((2.0, 2.5))


def test_pairing_makes_the_interval_of_equal_runs_a_point(write: Write) -> None:
    rows = compare(write("a", "finetune", FINETUNE), write("b", "same", FINETUNE))
    for figure in (rows["same"].psnr("against"), rows["same"].psnr("share")):
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
    assert rows["finetune"].psnr("source").value == 20.0
    assert rows["replay"].psnr("against").value == pytest.approx(22.75 - 19.5)


def test_joint_training_is_measured_from_fine_tunings_rows(write: Write) -> None:
    joint = compare(write("a", "finetune", FINETUNE), write("b", "joint", JOINT))["joint"]
    assert joint.psnr("forgetting").value == pytest.approx(23.0 - 24.0)
    assert joint.psnr("gain").value == pytest.approx(20.0 - 18.0)
    assert joint.psnr("share").value == pytest.approx(2.0)


def test_without_fine_tuning_there_is_no_share(write: Write) -> None:
    row = compare(write("b", "replay", BETTER))["replay"]
    assert math.isnan(row.psnr("share").value)
    assert math.isnan(row.time)
    assert row.psnr("forgetting").value == pytest.approx(0.25)
    alone = compare(write("c", "joint", JOINT))["joint"]
    assert math.isnan(alone.psnr("forgetting").value)


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


def test_less_is_better(write: Write) -> None:
    """The same numbers as a metric of which less is better: forgetting and gain change sign."""
    runs = [write("a", "finetune", BETTER), write("b", "replay", FINETUNE)]
    for run in runs:
        change(run / "env.json", metrics={"psnr": False})
    row = compare(*runs)["replay"]
    assert row.psnr("source").value == 20.5
    assert row.psnr("forgetting").value == -2.5
    assert row.psnr("gain").value == -1.0
    assert row.psnr("against").value == pytest.approx(2.25)
    assert math.isnan(row.psnr("share").value)  # fine-tuning gained nothing that way


def test_a_share_of_a_gain_that_may_be_none_is_not_shown(write: Write) -> None:
    unsure = FINETUNE | {("animef", "animef"): [16.9, 20.0]}
    rows = compare(write("a", "finetune", unsure), write("b", "replay", BETTER))
    assert math.isnan(rows["replay"].psnr("share").value)


def test_times_of_different_clocks_do_not_compare(write: Write) -> None:
    one, two = write("a", "finetune", FINETUNE), write("b", "replay", BETTER)
    costs = json.loads((two / "costs.json").read_text())
    change(two / "costs.json", **{row: cost | {"clock": "cpu"} for row, cost in costs.items()})
    assert math.isnan(compare(one, two)["replay"].time)


def test_what_follows_a_first_domain_that_was_trained_elsewhere_takes_time_too(
    write: Write,
) -> None:
    """As in a sweep: 10 s of learning, and 2 s of remembering the first domain for one of them."""
    runs = [write("a", "finetune", FINETUNE), write("b", "ewc", BETTER)]
    for run, seconds in zip(runs, (0.0, 2.0), strict=True):
        costs = json.loads((run / "costs.json").read_text())
        change(run / "costs.json", celeba=costs["celeba"] | {"iterations": 0, "seconds": seconds})
    assert compare(*runs)["ewc"].time == pytest.approx(1.2)


# What else may tell rows apart


def test_rows_by_another_key_and_shares_of_its_baseline(write: Write) -> None:
    runs = [
        write("a", "finetune", FINETUNE, train__lr=1e-3),
        write("b", "finetune", BETTER, train__lr=1e-4),
    ]
    few, many = rows_by(runs, ["train.lr"], {"train.lr": 1e-4})
    assert (few.label, few.baseline) == ("lr 0.0001", True)
    assert (many.label, many.baseline) == ("lr 0.001", False)
    assert many.psnr("share").value == pytest.approx(1 / 0.75)


def test_rows_by_an_option_of_a_strategy(write: Write) -> None:
    """As text, as a number, or not given at all: then its default tells."""
    runs = [
        write("a", "replay:size=4", FINETUNE, seed=0),
        write("b", "replay", FINETUNE, seed=1, strategy__replay__size=4),
        write("c", "replay", BETTER),
    ]
    key = "strategy.replay.size"
    few, many = sorted(rows_by(runs, [key], {key: 160}), key=lambda row: row.baseline)
    assert (few.label, few.seeds, few.baseline) == ("size 4", (0, 1), False)
    assert (many.label, many.seeds, many.baseline) == ("size 160", (0,), True)


def test_a_baseline_without_the_option_that_varies_is_that_of_all(write: Write) -> None:
    """As in a sweep with a grid of finetune alone, and one of replay and its sizes."""
    runs = [write("a", "finetune", FINETUNE)]
    runs += [write(f"b{k}", "replay", BETTER, strategy__replay__size=k) for k in (4, 16)]
    rows = rows_by(runs, ["strategy", "strategy.replay.size"], {"strategy": "finetune"})
    assert [row.baseline for row in rows] == [True, False, False]
    for row in rows[1:]:
        assert row.psnr("share").value == pytest.approx(0.75)
        assert row.psnr("against").value == pytest.approx(2.25)
        assert row.time == pytest.approx(1.0)
    assert "null" not in rows[0].label


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
    assert found["replay, lr 0.001"].psnr("share").value == pytest.approx(0.75)
    assert found["replay, lr 0.0001"].psnr("share").value == pytest.approx(1.0)


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


def test_models_of_ones_own_family_with_other_keys_do_not_compare(write: Write) -> None:
    runs = [write("a", "finetune", FINETUNE), write("b", "replay", BETTER)]
    for run, width in zip(runs, (8, 16), strict=True):
        config = read_yaml(run / "config.yaml")
        config["model"] = {"family": "/somewhere/mine.py", "width": width}
        (run / "config.yaml").write_text(dump_yaml(config))
    with pytest.raises(InputError, match=r"model\.width is 8 and 16"):
        rows_by(runs, ["strategy"])
    labels = [row.label for row in rows_by(runs, ["model.width"], {"model.width": 8})]
    assert labels == ["width 8", "width 16"]


def test_other_images_are_refused(write: Write) -> None:
    runs = [write("a", "finetune", FINETUNE), other_images(write("b", "replay", BETTER))]
    with pytest.raises(InputError, match="other images of animef"):
        rows_by(runs, ["strategy"])


def test_rows_of_other_images_are_not_paired(write: Write) -> None:
    runs = [
        write("a", "finetune", FINETUNE),
        other_images(write("b", "finetune", BETTER, data__split="random")),
    ]
    with pytest.raises(InputError, match=r"data\.split is content and random; --by data\.split"):
        rows_by(runs, ["strategy"])
    comparison = Comparison(find_runs(runs).runs, ["data.split"], {"data.split": "content"})
    content, random = comparison.rows
    assert comparison.mixed
    assert content.baseline
    assert math.isnan(random.psnr("share").value)
    assert random.psnr("forgetting").value == pytest.approx(0.25)
    assert random.psnr("over").value == pytest.approx(18.75 - 17.5)


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
    write_lines(images, lines)
    change(runs[1] / "env.json", metrics={"psnr": True, "lpips": False})
    comparison = Comparison(find_runs(runs).runs)
    assert not comparison.mixed
    assert not comparison.apart
    assert comparison.metrics == ["psnr"]
    assert comparison.rows[1].psnr("share").value == pytest.approx(0.75)


def test_another_stream_is_told_to_be_compared_by_itself(write: Write) -> None:
    runs = [write("a", "finetune", FINETUNE), write("b", "replay", BETTER, stream="celeba-df2k")]
    with pytest.raises(InputError, match="--by stream compares each by itself"):
        Comparison(find_runs(runs).runs, ["strategy"])


def test_a_sweep_tells_what_is_varied(write: Write, tmp_path: Path) -> None:
    write("a", "finetune", FINETUNE, train__iterations="[0, 400]")
    write("b", "finetune", BETTER, train__iterations="[0, 900]")
    members = {"a": {"train.iterations": [9, 400]}, "b": {"train.iterations": [9, 900]}}
    folder = write_sweep(tmp_path / "runs", members, ["train.iterations"])
    (comparison,) = compare_found(find_runs([folder]))
    assert [row.label for row in comparison.rows] == [
        "iterations [9, 400]",
        "iterations [9, 900]",
    ]
