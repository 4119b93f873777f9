"""Runs that are cut anywhere and taken up: the same bits as without the cut."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from avalanche.training.plugins import SupervisedPlugin
from safetensors.torch import load_file, save_file
from strategy_cases import ALL, TOGETHER

from cl_sr.config import read_preset, resolve
from cl_sr.errors import InputError
from cl_sr.models import load_sr3
from cl_sr.reporting import build_report
from cl_sr.training import checkpoints as module
from cl_sr.training.run import execute, plan_run
from cl_sr.training.run_folder import RunFolder
from cl_sr.training.stopping import Stopped, StopRequest


def run(path: Path, overrides: list[str], resume: bool = False, **more: Any) -> RunFolder:
    plan = plan_run(resolve(read_preset("demo"), overrides))
    folder = RunFolder.open(path) if resume else RunFolder.create(path, False, plan.first_files())
    return execute(plan, folder, resume=resume, **more)


def results(path: Path) -> dict[str, bytes]:
    """What must not depend on cuts."""
    files = ["metrics.jsonl", "matrix.csv", "images.csv", "windows.csv", "config.yaml"]
    files += ["manifest.csv"]
    files += [str(p.relative_to(path)) for p in path.glob("checkpoints/*/adapter/*")]
    files += [str(p.relative_to(path)) for p in path.glob("checkpoints/*/model.safetensors")
              if not p.parent.name.startswith("iteration-")]  # fmt: skip
    files += [str(p.relative_to(path)) for p in path.glob("samples/*/*.png")]
    return {name: (path / name).read_bytes() for name in sorted(files)}


class Cut(SupervisedPlugin):
    """Stops at a moment, without a word, as SIGKILL does: nothing is saved then."""

    def __init__(self, moment: str, iteration: int) -> None:
        super().__init__()

        def cut(strategy: Any, **_: Any) -> None:
            if strategy.clock.train_iterations == iteration:
                raise SystemExit(9)

        setattr(self, moment, cut)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, list[str]], Path]:
    """The run of a strategy without a cut, made once."""
    runs: dict[str, Path] = {}

    def make(strategy: str, settings: list[str]) -> Path:
        if strategy not in runs:
            runs[strategy] = tmp_path_factory.mktemp("whole") / "run"
            run(runs[strategy], settings)
        return runs[strategy]

    return make


MOMENTS = [
    ("before_eval", 0),
    ("before_training_iteration", 1),
    ("before_training_iteration", 3),
    ("after_eval_exp", 4),
    ("before_training_exp", 4),
    ("before_training_iteration", 5),
    ("before_eval_iteration", 6),
    ("after_eval", 7),
]
# A schedule that changes Adam's betas as well.
CYCLE = "avalanche:LRSchedulerPlugin:scheduler=OneCycleLR,max_lr=1e-3,total_steps=6"
FEW = [("after_eval_exp", 4), ("before_training_exp", 4), ("before_training_iteration", 5)]


@pytest.mark.parametrize(
    ("strategy", "moment", "iteration"),
    [
        (strategy, *moment)
        for strategy in [*ALL, *TOGETHER, CYCLE]
        for moment in (MOMENTS if strategy in ("finetune", *TOGETHER) else FEW)
    ],
)
def test_a_cut_run_ends_as_if_it_had_not_been_cut(
    tmp_path: Path,
    tiny: list[str],
    whole: Callable[[str, list[str]], Path],
    strategy: str,
    moment: str,
    iteration: int,
) -> None:
    settings = [*tiny, f"strategy={strategy}", "checkpoint.every=1", "model.dropout=0.1"]
    uncut = whole(strategy, settings)
    last = json.loads((uncut / "status.json").read_text())["of"]
    if iteration <= last and not (strategy == "joint" and moment == "before_training_exp"):
        try:
            run(tmp_path / "cut", settings, plugins=[Cut(moment, iteration)])
        except SystemExit:
            run(tmp_path / "cut", settings, resume=True)
    else:
        pytest.skip("the run has no such moment")
    assert results(tmp_path / "cut") == results(uncut)
    assert RunFolder.open(tmp_path / "cut").finished


@pytest.mark.gpu
@pytest.mark.parametrize("strategy", [*ALL, *TOGETHER])
def test_every_strategy_is_cut_and_goes_on_on_a_gpu(
    tmp_path: Path, tiny: list[str], strategy: str
) -> None:
    """What is remembered lies where it is needed, before and after the state was read."""
    settings = [*tiny, f"strategy={strategy}", "checkpoint.every=1", "device=cuda"]
    with contextlib.suppress(SystemExit):
        run(tmp_path / "run", settings, plugins=[Cut("before_training_iteration", 5)])
        assert strategy.startswith("ddnm")  # which ends with the first domain
    run(tmp_path / "run", settings, resume=True)
    assert RunFolder.open(tmp_path / "run").finished


def test_a_run_that_is_asked_to_stop_saves_its_state_first(tmp_path: Path, tiny: list[str]) -> None:
    run(tmp_path / "whole", tiny)
    stop = StopRequest()

    class Ask(SupervisedPlugin):
        def before_training_iteration(self, strategy: Any, **_: Any) -> None:
            if strategy.clock.train_iterations == 5:
                stop.signum = signal.SIGTERM

    with pytest.raises(Stopped):
        run(tmp_path / "cut", tiny, plugins=[Ask()], stop=stop)
    assert (tmp_path / "cut" / "checkpoints" / "iteration-000006").is_dir()
    status = json.loads((tmp_path / "cut" / "status.json").read_text())
    assert status == {"state": "interrupted", "iteration": 6, "of": 7}
    build_report(RunFolder.open(tmp_path / "cut"))
    run(tmp_path / "cut", tiny, resume=True)
    assert results(tmp_path / "cut") == results(tmp_path / "whole")


def test_a_stop_in_an_evaluation_saves_the_state_before_it(tmp_path: Path, tiny: list[str]) -> None:
    run(tmp_path / "whole", tiny)
    stop = StopRequest()

    class Ask(SupervisedPlugin):
        def before_eval_iteration(self, strategy: Any, **_: Any) -> None:
            if strategy.clock.train_iterations == 6 and strategy.experience.domains == ("animef",):
                stop.signum = signal.SIGTERM

    with pytest.raises(Stopped):
        run(tmp_path / "cut", tiny, plugins=[Ask()], stop=stop)
    assert len((tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()) % 2 == 1
    run(tmp_path / "cut", tiny, resume=True)
    assert results(tmp_path / "cut") == results(tmp_path / "whole")


@pytest.mark.parametrize("file", ["model.safetensors", "training.safetensors", "training.json"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_damaged_checkpoint_is_passed_over(
    tmp_path: Path, tiny: list[str], file: str, share: float
) -> None:
    settings = [*tiny, "checkpoint.every=1"]
    run(tmp_path / "whole", settings)
    with pytest.raises(SystemExit):
        run(tmp_path / "cut", settings, plugins=[Cut("before_training_iteration", 6)])
    damaged = tmp_path / "cut" / "checkpoints" / "iteration-000006" / file
    damaged.write_bytes(damaged.read_bytes()[: int(damaged.stat().st_size * share)])
    with pytest.warns(UserWarning, match="damaged checkpoint.*iteration-000006"):
        run(tmp_path / "cut", settings, resume=True)
    assert results(tmp_path / "cut") == results(tmp_path / "whole")


def test_a_full_disk_leaves_the_last_good_state(
    tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [*tiny, "checkpoint.every=1"]
    run(tmp_path / "whole", settings)
    save, calls = module.save_file, []

    def full(tensors: Any, path: Path) -> None:
        calls.append(path)
        save(tensors, path)
        if len(calls) == 3:
            path.write_bytes(path.read_bytes()[:100])
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(InputError, match=r"cannot write the checkpoint .*000003.*No space left"):
        run(tmp_path / "cut", settings)
    folder = tmp_path / "cut" / "checkpoints"
    assert sorted(p.name for p in folder.iterdir()) == ["iteration-000001", "iteration-000002"]
    run(tmp_path / "cut", settings, resume=True)
    assert results(tmp_path / "cut") == results(tmp_path / "whole")


def test_what_a_killed_write_left_is_cleared(tmp_path: Path, tiny: list[str]) -> None:
    settings = [*tiny, "checkpoint.every=1"]
    with pytest.raises(SystemExit):
        run(tmp_path / "cut", settings, plugins=[Cut("before_training_iteration", 3)])
    folder = tmp_path / "cut" / "checkpoints"
    (folder / ".iteration-000004.partial").mkdir()
    # Killed between moving the old one away and putting the new one in its place.
    os.replace(folder / "iteration-000003", folder / ".iteration-000003.former")
    run(tmp_path / "cut", settings, resume=True)
    assert not list(folder.glob(".*"))


def test_checkpoints_hold_no_pickles_and_load_as_weights(tmp_path: Path, tiny: list[str]) -> None:
    folder = run(tmp_path / "run", [*tiny, "checkpoint.every=3"])
    found = {p.suffix for p in (folder.path / "checkpoints").rglob("*.*") if p.is_file()}
    assert found == {".safetensors", ".json"}
    load_sr3(folder.path / "checkpoints" / "iteration-000003")


def test_other_images_are_refused(tmp_path: Path, tiny: list[str], image_folder: Any) -> None:
    data = [
        f"data.folders.{n}={image_folder(n, 8, seed=k)}" for k, n in enumerate(["celeba", "animef"])
    ]
    with pytest.raises(SystemExit):
        run(tmp_path / "cut", [*tiny, *data], plugins=[Cut("before_training_iteration", 3)])
    image_folder("celeba", 9, seed=0)
    with pytest.raises(InputError, match="images are no longer those"):
        run(tmp_path / "cut", [*tiny, *data], resume=True)


def test_two_processes_cannot_write_one_run(tmp_path: Path, tiny: list[str]) -> None:
    folder = RunFolder.create(tmp_path / "run", overwrite=False)
    assert not folder.locked
    with folder.lock():
        assert RunFolder(tmp_path / "run").locked
        with pytest.raises(InputError, match="another process is at work"):
            execute(plan_run(resolve(read_preset("demo"), tiny)), folder)
    assert not folder.locked


def test_divergence_names_its_iteration_and_spares_the_good_checkpoint(
    tmp_path: Path, tiny: list[str]
) -> None:
    class Explode(SupervisedPlugin):
        def before_backward(self, strategy: Any, **_: Any) -> None:
            if strategy.clock.train_iterations == 4:  # the fifth
                strategy.loss = strategy.loss * float("inf")

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
        def before_backward(self, strategy: Any, **_: Any) -> None:
            rate = strategy.optimizer.param_groups[0]["lr"]
            rates.append((strategy.clock.train_iterations, rate))
            if strategy.clock.train_iterations == 5 and rate > 2e-4:
                strategy.loss = strategy.loss * float("nan")

    settings = [*tiny, "checkpoint.every=1", "train.lr=8e-4", "train.on_divergence=restart"]
    folder = run(tmp_path / "run", settings, plugins=[Explode()])
    assert [rate for n, rate in rates if n == 5] == pytest.approx([8e-4, 4e-4, 2e-4])
    assert folder.finished
    assert torch.isfinite(load_sr3(folder.path / "checkpoints" / "animef").downs[0].weight).all()  # type: ignore[arg-type]
    with pytest.raises(InputError, match="diverged"):  # three restarts at most
        run(tmp_path / "2", [*settings, "train.lr=1"], plugins=[Explode()])


def cut_run(path: Path, tiny: list[str], *more: str) -> Path:
    """A run that was killed after its sixth iteration; returns its last checkpoint."""
    cut = Cut("before_training_iteration", 6)
    with pytest.raises(SystemExit):
        run(path, [*tiny, "checkpoint.every=1", *more], plugins=[cut])
    return path / "checkpoints" / "iteration-000006"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("iteration", 10**18), ("experience", 7), ("experience_iteration", 99), ("trained_on", "x"),
        ("clock", {}), ("clock", []), ("metrics", 3), ("metrics", ["{"]), ("metrics", ['{"n": 1}']),
        ("ema_updates", "x"), ("ema_updates", 10**400), ("ema_updates", -11),
        ("lr", [float("nan")]), ("lr", "x"), ("lr_scale", 0), ("betas", [[0.9, 1.0]]),
        ("numpy", ["MT19937", [1] * 624, 10**9, 0, 0.0]),
        ("python", [3, [1], None]), ("optimizer", {"0": {"foo": "x"}}), ("plugins", {"1-X": {}}),
        ("format", True),
    ],
)  # fmt: skip
def test_a_state_that_somebody_changed(
    tmp_path: Path, tiny: list[str], key: str, value: Any
) -> None:
    """Refused in one line, or passed over for the one before."""
    file = cut_run(tmp_path / "cut", tiny) / "training.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps(values | {key: value}))
    try:
        run(tmp_path / "cut", tiny, resume=True)
    except InputError as error:
        message = str(error)
        assert re.search("remove it to go on from", message)
    else:
        assert key in ("format", "iteration", "experience", "experience_iteration")


@pytest.mark.parametrize("change", ["shape", "missing", "step"])
def test_an_optimizer_that_somebody_changed(tmp_path: Path, tiny: list[str], change: str) -> None:
    file = cut_run(tmp_path / "cut", tiny) / "training.safetensors"
    tensors = load_file(file)
    if change == "shape":
        tensors["optimizer.0.exp_avg"] = torch.zeros(3)
    elif change == "missing":
        del tensors["optimizer.0.exp_avg_sq"]
    else:
        tensors["optimizer.0.step"] = torch.zeros(7)
    save_file(tensors, file)
    with pytest.raises(InputError, match="remove it to go on from"):
        run(tmp_path / "cut", tiny, resume=True)


def test_lost_lines_of_metrics_come_back_from_the_state(tmp_path: Path, tiny: list[str]) -> None:
    settings = [*tiny, "checkpoint.every=1"]
    run(tmp_path / "whole", settings)
    cut_run(tmp_path / "cut", tiny)
    (tmp_path / "cut" / "metrics.jsonl").write_bytes(b"\xff garbage")
    (tmp_path / "cut" / "status.json").write_text("")
    run(tmp_path / "cut", settings, resume=True)
    assert results(tmp_path / "cut") == results(tmp_path / "whole")


@pytest.mark.parametrize("name", ["checkpoints", "samples", ".lock"])
def test_links_that_lead_out_of_the_run_are_refused(
    tmp_path: Path, tiny: list[str], name: str
) -> None:
    cut_run(tmp_path / "cut", tiny)
    outside = tmp_path / "outside"
    (tmp_path / "cut" / name).rename(outside)
    (tmp_path / "cut" / name).symlink_to(outside)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("outside/**/*")}
    with pytest.raises(InputError, match="is a link"):
        run(tmp_path / "cut", tiny, resume=True)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.glob("outside/**/*")} == before


def test_a_link_in_the_place_of_a_partial_file_is_not_followed(
    tmp_path: Path, tiny: list[str]
) -> None:
    (tmp_path / "victim.txt").write_text("of value")
    cut_run(tmp_path / "cut", tiny)
    (tmp_path / "cut" / ".status.json.partial").symlink_to(tmp_path / "victim.txt")
    run(tmp_path / "cut", tiny, resume=True)
    assert (tmp_path / "victim.txt").read_text() == "of value"


def test_a_plugin_keeps_its_state_if_it_says_which(tmp_path: Path, tiny: list[str]) -> None:
    class Count(SupervisedPlugin):
        """Scales the loss by how often it was called: wrong after a cut, if that were lost."""

        def __init__(self) -> None:
            super().__init__()
            self.calls = torch.zeros(())

        def before_backward(self, strategy: Any, **_: Any) -> None:
            self.calls = self.calls + 1
            strategy.loss = strategy.loss * self.calls

        def state_dict(self) -> dict[str, Any]:
            return {"calls": self.calls, "also": self.calls, "name": "x"}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.calls = state["calls"]

    settings = [*tiny, "checkpoint.every=1", "train.clip=0"]
    run(tmp_path / "whole", settings, plugins=[Count()])
    cut = Cut("before_training_iteration", 6)
    with pytest.raises(SystemExit):
        run(tmp_path / "cut", settings, plugins=[Count(), cut])
    with warnings.catch_warnings(record=True) as caught:
        run(tmp_path / "cut", settings, resume=True, plugins=[Count()])
    assert not [w for w in caught if "Count" in str(w.message)]
    assert results(tmp_path / "cut") == results(tmp_path / "whole")


def test_a_halved_rate_stays_halved_under_a_schedule(tmp_path: Path, tiny: list[str]) -> None:
    """CosineAnnealingWarmRestarts computes each rate from its own base rates."""
    rates = []

    class Explode(SupervisedPlugin):
        def before_backward(self, strategy: Any, **_: Any) -> None:
            rate = strategy.optimizer.param_groups[0]["lr"]
            rates.append((strategy.clock.train_iterations, rate))
            if strategy.clock.train_iterations == 5 and len(rates) < 7:
                strategy.loss = strategy.loss * float("nan")

    schedule = "avalanche:LRSchedulerPlugin:scheduler=CosineAnnealingWarmRestarts,T_0=10"
    settings = [*tiny, "checkpoint.every=1", "train.lr=8e-4", "train.on_divergence=restart"]
    run(tmp_path / "run", [*settings, f"strategy={schedule}"], plugins=[Explode()])
    before, after = (rate for n, rate in rates if n == 5)
    assert after == pytest.approx(before / 2)
    later = [rate for n, rate in rates if n == 6]
    assert later == pytest.approx([4e-4 * (1 + math.cos(math.pi * 2 / 10)) / 2])


def test_the_rate_is_halved_from_where_an_earlier_process_left_it(
    tmp_path: Path, tiny: list[str]
) -> None:
    rates = []

    class Explode(SupervisedPlugin):
        def before_backward(self, strategy: Any, **_: Any) -> None:
            rates.append(strategy.optimizer.param_groups[0]["lr"])
            if strategy.clock.train_iterations >= 5:
                strategy.loss = strategy.loss * float("nan")

    cut = cut_run(tmp_path / "cut", tiny, "train.lr=8e-4", "train.on_divergence=restart")
    file = cut.with_name("iteration-000005") / "training.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps(values | {"lr_scale": 0.5, "lr": [4e-4]}))
    shutil.rmtree(cut)
    settings = [*tiny, "checkpoint.every=1", "train.lr=8e-4", "train.on_divergence=restart"]
    with pytest.raises(InputError, match="diverged"):
        run(tmp_path / "cut", settings, resume=True, plugins=[Explode()])
    assert rates == pytest.approx([4e-4, 2e-4, 1e-4])
