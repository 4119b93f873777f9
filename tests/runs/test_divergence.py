"""A training that diverges: what is told, what is kept, and starting anew at a lower rate."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from running import run

from cl_sr.avalanche import SupervisedPlugin
from cl_sr.errors import InputError
from cl_sr.models import load_sr3

pytestmark = pytest.mark.run


def test_divergence_names_its_iteration_and_spares_the_good_checkpoint(
    tmp_path: Path, tiny: list[str]
) -> None:
    class Explode(SupervisedPlugin):
        def before_backward(self, template: Any, **_: Any) -> None:
            if template.clock.train_iterations == 4:  # the fifth
                template.loss = template.loss * float("inf")

    settings = [*tiny, "checkpoint.every=2"]
    with pytest.raises(InputError, match="loss is not finite at iteration 5"):
        run(tmp_path / "run", settings, plugins=[Explode()])
    folder = tmp_path / "run" / "checkpoints"
    assert sorted(p.name for p in folder.iterdir()) == [
        "celeba",
        "iteration-000002",
        "iteration-000004",
    ]
    for name in ("celeba", "iteration-000004"):
        assert all(p.isfinite().all() for p in load_sr3(folder / name).parameters())
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["state"] == "failed"
    assert "animef" not in (tmp_path / "run" / "matrix.csv").read_text().replace(",animef,", "")


def test_divergence_restarts_at_half_the_rate_where_that_is_asked_for(
    tmp_path: Path, tiny: list[str]
) -> None:
    rates = []

    class Explode(SupervisedPlugin):
        def before_backward(self, template: Any, **_: Any) -> None:
            rate = template.optimizer.param_groups[0]["lr"]
            rates.append((template.clock.train_iterations, rate))
            if template.clock.train_iterations == 5 and rate > 2e-4:
                template.loss = template.loss * float("nan")

    settings = [*tiny, "checkpoint.every=1", "train.lr=8e-4", "train.on_divergence=restart"]
    folder = run(tmp_path / "run", settings, plugins=[Explode()])
    assert [rate for n, rate in rates if n == 5] == pytest.approx([8e-4, 4e-4, 2e-4])
    assert folder.folder.finished
    assert torch.isfinite(load_sr3(folder.path / "checkpoints" / "animef").downs[0].weight).all()  # type: ignore[arg-type]
    with pytest.raises(InputError, match="diverged"):  # three restarts at most
        run(tmp_path / "2", [*settings, "train.lr=1"], plugins=[Explode()])


def test_a_halved_rate_stays_halved_under_a_schedule(tmp_path: Path, tiny: list[str]) -> None:
    """CosineAnnealingWarmRestarts computes each rate from its own base rates."""
    rates = []

    class Explode(SupervisedPlugin):
        def before_backward(self, template: Any, **_: Any) -> None:
            rate = template.optimizer.param_groups[0]["lr"]
            rates.append((template.clock.train_iterations, rate))
            if template.clock.train_iterations == 5 and len(rates) < 7:
                template.loss = template.loss * float("nan")

    schedule = "avalanche:LRSchedulerPlugin:scheduler=CosineAnnealingWarmRestarts,T_0=10"
    settings = [*tiny, "checkpoint.every=1", "train.lr=8e-4", "train.on_divergence=restart"]
    run(tmp_path / "run", [*settings, f"strategy={schedule}"], plugins=[Explode()])
    before, after = (rate for n, rate in rates if n == 5)
    assert after == pytest.approx(before / 2)
    later = [rate for n, rate in rates if n == 6]
    assert later == pytest.approx([4e-4 * (1 + math.cos(math.pi * 2 / 10)) / 2])


def test_the_rate_is_halved_from_where_an_earlier_process_left_it(
    cut: Path, tiny: list[str]
) -> None:
    rates = []

    class Explode(SupervisedPlugin):
        def before_backward(self, template: Any, **_: Any) -> None:
            rates.append(template.optimizer.param_groups[0]["lr"])
            if template.clock.train_iterations >= 5:
                template.loss = template.loss * float("nan")

    states = cut / "checkpoints"
    file = states / "iteration-000005" / "training.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps(values | {"lr_scale": 0.5, "lr": [4e-4]}))
    shutil.rmtree(states / "iteration-000006")
    settings = [*tiny, "checkpoint.every=1", "train.lr=8e-4", "train.on_divergence=restart"]
    with pytest.raises(InputError, match="diverged"):
        run(cut, settings, resume=True, plugins=[Explode()])
    assert rates == pytest.approx([4e-4, 2e-4, 1e-4])
