"""Whole runs through the library's own functions."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from running import load_run, run, run_loaded

from cl_sr.avalanche import SupervisedPlugin
from cl_sr.benchmarks import Stream
from cl_sr.config import resolve
from cl_sr.degradations import Bicubic
from cl_sr.degradations.pixels import to_floats
from cl_sr.diffusion import Denoiser, sample
from cl_sr.errors import InputError
from cl_sr.evaluation import psnr
from cl_sr.inference.device import choose_device
from cl_sr.models import load_sr3
from cl_sr.reporting import build_report
from cl_sr.runs.loading import load
from cl_sr.runs.plan import check
from cl_sr.runs.record import Record
from cl_sr.yaml_text import read_yaml

pytestmark = pytest.mark.run


def final_weights(record: Record) -> bytes:
    return (record.path / "checkpoints" / "animef" / "model.safetensors").read_bytes()


def test_the_folder_holds_what_the_design_says(tmp_path: Path, tiny: list[str]) -> None:
    folder = run(tmp_path / "run", tiny)
    found = folder.metrics
    assert [(r["iteration"], r["trained_on"], r["domain"]) for r in found] == [
        (iteration, trained_on, domain)
        for iteration, trained_on in [
            (0, "init"),
            (2, "celeba"),
            (4, "celeba"),
            (6, "animef"),
            (7, "animef"),
        ]
        for domain in ("celeba", "animef")
    ]
    assert found[-1] | {"psnr": 0, "ssim": 0} == {
        "iteration": 7,
        "experience": 1,
        "experience_iteration": 3,
        "trained_on": "animef",
        "domain": "animef",
        "psnr": 0,
        "ssim": 0,
        "n": 3,
        "sampler": "ddim",
        "steps": 2,
        "source": "stand-in",
    }
    with (folder.path / "matrix.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(r["metric"], r["after"], r["domain"]) for r in rows} == {
        (metric, after, domain)
        for metric in ("psnr", "ssim")
        for after in ("bicubic", "init", "celeba", "animef")
        for domain in ("celeba", "animef")
    }
    last = {r["domain"]: r["psnr"] for r in found[-2:]}
    assert {
        r["domain"]: float(r["value"])
        for r in rows
        if (r["metric"], r["after"]) == ("psnr", "animef")
    } == last
    status = json.loads((folder.path / "status.json").read_text())
    assert status == {"state": "finished", "iteration": 7, "of": 7}
    environment = json.loads((folder.path / "env.json").read_text())
    assert environment["data"]["celeba"]["source"] == "stand-in"
    assert not list(folder.path.rglob("*.partial"))
    assert not [p for p in folder.path.rglob("*") if p.suffix in {".pt", ".pth", ".pkl", ".ckpt"}]


def test_the_saved_weights_reproduce_the_reported_figures(tmp_path: Path, tiny: list[str]) -> None:
    """From the checkpoint and the library's parts alone, without Avalanche."""
    loaded = load_run(tiny)
    folder = run_loaded(tmp_path / "run", loaded)
    net = load_sr3(folder.path / "checkpoints" / "celeba").eval()
    hr, degradation = loaded.data["animef"].test[:3], Bicubic(4)
    condition = to_floats(degradation.condition(degradation.degrade(hr)))
    images = sample(
        Denoiser(net, loaded.model.parametrization),
        condition,
        loaded.model.schedule,
        "ddim",
        2,
        seeds=[0, 1, 2],
    )
    expected = next(
        r["psnr"] for r in folder.metrics if (r["iteration"], r["domain"]) == (4, "animef")
    )
    assert float(psnr((images + 1) / 2, hr / 255).mean()) == pytest.approx(expected, abs=1e-3)
    strip = np.array(Image.open(folder.path / "samples" / "animef" / "after-celeba.png"))
    ours = ((images[:2] + 1) * 127.5).round().permute(2, 0, 3, 1).flatten(1, 2)
    assert np.abs(strip.astype(int) - ours.numpy().astype(int)).max() <= 1


def test_one_seed_gives_identical_metrics_and_another_does_not(
    tmp_path: Path, tiny: list[str]
) -> None:
    first, second = run(tmp_path / "a", tiny), run(tmp_path / "b", tiny)
    other = run(tmp_path / "c", [*tiny, "seed=1"])
    assert (first.path / "metrics.jsonl").read_bytes() == (
        second.path / "metrics.jsonl"
    ).read_bytes()
    assert final_weights(first) == final_weights(second)
    assert first.metrics != other.metrics


def test_evaluation_leaves_the_final_weights_alone(tmp_path: Path, tiny: list[str]) -> None:
    every = run(tmp_path / "every", [*tiny, "eval.every=1"])
    none = run(tmp_path / "none", [*tiny, "eval.images=0"])
    assert final_weights(every) == final_weights(none)
    assert none.metrics == []


def test_config_yaml_repeats_the_run(tmp_path: Path, tiny: list[str]) -> None:
    first = run(tmp_path / "a", [*tiny, "strategy=timestep-window:stop=500"])
    again = resolve(read_yaml(first.path / "config.yaml"))
    second = run_loaded(tmp_path / "b", load(check(again)))
    assert first.metrics == second.metrics


def test_three_domains_with_the_last_budget_repeated(tmp_path: Path, tiny: list[str]) -> None:
    folder = run(tmp_path / "run", [*tiny, "stream=celeba-anime-df2k"])
    assert folder.metrics[-1]["iteration"] == 4 + 3 + 3
    assert folder.matrices[0].previous == ["celeba", "animef"]


def test_an_interrupt_before_training_leaves_a_run_that_says_so(
    tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Stream, "benchmark", stop)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", tiny)
    report = build_report(Record(tmp_path / "run"))
    assert "interrupted at iteration 0 of 7" in report.state


def test_divergence_is_no_result(tmp_path: Path, tiny: list[str]) -> None:
    with pytest.raises(InputError, match=r"diverged.*lower train\.lr"):
        run(tmp_path / "run", [*tiny, "train.lr=1e30", "train.clip=0"])
    folder = Record(tmp_path / "run")
    assert folder.state == "failed"
    assert "NaN" not in (folder.path / "metrics.jsonl").read_text()


def test_a_first_domain_that_is_not_trained_has_its_row(tmp_path: Path, tiny: list[str]) -> None:
    folder = run(tmp_path / "run", [*tiny, "train.iterations=[0, 3]"])
    assert folder.matrices[0].learnt == ["celeba", "animef"]
    assert folder.metrics[-1]["iteration"] == 3


def test_status_follows_the_run(tmp_path: Path, tiny: list[str]) -> None:
    seen: list[tuple[str, int]] = []

    class Watch(SupervisedPlugin):
        def before_training_iteration(self, template: Any, **kwargs: Any) -> None:
            status = json.loads((tmp_path / "run" / "status.json").read_text())
            seen.append((status["state"], status["iteration"]))

    run(tmp_path / "run", tiny, plugins=[Watch()])
    assert seen == [("running", n) for n in (0, 0, 2, 2, 4, 4, 6)]


def test_a_crash_is_not_passed_off_as_a_result(tmp_path: Path, tiny: list[str]) -> None:
    class Crash(SupervisedPlugin):
        def before_training_iteration(self, template: Any, **kwargs: Any) -> None:
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        run(tmp_path / "run", tiny, plugins=[Crash()])
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["state"] == "failed"
    assert "out of memory" in status["reason"]


def test_further_weights_on_request(tmp_path: Path, tiny: list[str]) -> None:
    folder = run(tmp_path / "run", [*tiny, "checkpoint.every=2"])
    names = {p.name for p in (folder.path / "checkpoints").iterdir()}
    assert names == {"celeba", "animef", "iteration-000006", "iteration-000007"}
    load_sr3(folder.path / "checkpoints" / "iteration-000006")


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
def test_a_device_that_is_not_there() -> None:
    with pytest.raises(InputError, match="--device cpu"):
        choose_device("cuda")
    assert choose_device("auto").type in {"cpu", "mps"}


@pytest.mark.gpu
def test_a_run_on_a_gpu(tmp_path: Path, tiny: list[str]) -> None:
    folder = run(tmp_path / "run", [*tiny, "device=cuda"])
    assert "cuda" in json.loads((folder.path / "env.json").read_text())["device"]
    assert len(folder.metrics) == 10
