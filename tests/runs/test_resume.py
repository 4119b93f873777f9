"""Runs that are cut anywhere and taken up: the same bits as without the cut."""

from __future__ import annotations

import contextlib
import json
import signal
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from running import EVERY, Cut, results, run
from strategy_cases import ALL, CYCLE, TOGETHER

from cl_sr.avalanche import SupervisedPlugin
from cl_sr.errors import InputError
from cl_sr.models import load_sr3
from cl_sr.reporting import build_report
from cl_sr.runs.folder import RunFolder
from cl_sr.runs.record import Record
from cl_sr.stopping import Stopped, StopRequest

pytestmark = pytest.mark.run

# Where a run over three domains of two iterations each is cut. Every strategy is at the first two,
# when memory and weights go over to another experience. The other moments, which are the same for
# all, fall to three cases in turn, that evaluate within experiences as well.
BETWEEN = [("after_eval_exp", 2), ("before_training_iteration", 3)]
ELSEWHERE = [
    ("before_eval", 0),
    ("before_training_iteration", 1),
    ("before_eval_iteration", 1),
    ("before_training_exp", 2),
    ("after_update", 2),
    ("before_eval_iteration", 3),
    ("before_training_exp", 4),
    ("before_training_iteration", 5),
    ("after_eval", 6),
]
# What does not learn one domain after the other.
LEARNT = {"joint": ["celeba+animef+df2k-ost"], "ddnm:steps=2": ["celeba"]}


def moments(strategy: str) -> list[tuple[str, int]]:
    """The cuts of a case, in order."""
    if strategy in LEARNT:  # in one experience
        return [BETWEEN[strategy == "joint"]]
    more = ELSEWHERE[TOGETHER.index(strategy) :: len(TOGETHER)] if strategy in TOGETHER else []
    return sorted([*BETWEEN, *more], key=lambda moment: moment[1])


@pytest.mark.parametrize("strategy", [*ALL, CYCLE, *TOGETHER])
def test_a_run_that_is_cut_again_and_again_ends_as_if_it_had_not_been(
    tmp_path: Path, tiny: list[str], strategy: str
) -> None:
    settings = [*tiny, *EVERY, f"strategy={strategy}", "stream=celeba-anime-df2k",
                "model.dropout=0.1", "train.iterations=2", "eval.images=2", "eval.samples=1",
                f"eval.every={int(strategy in TOGETHER)}"]  # fmt: skip
    whole = run(tmp_path / "whole", settings)
    assert whole.matrices[0].learnt == LEARNT.get(strategy, ["celeba", "animef", "df2k-ost"])
    assert whole.metrics[-1]["iteration"] == (2 if "ddnm" in strategy else 6)
    for number, moment in enumerate(moments(strategy)):
        with pytest.raises(SystemExit):
            run(tmp_path / "cut", settings, resume=number > 0, plugins=[Cut(*moment)])
    run(tmp_path / "cut", settings, resume=True)
    assert results(tmp_path / "cut") == results(tmp_path / "whole")


def test_every_moment_is_in_some_case() -> None:
    assert {moment for case in TOGETHER for moment in moments(case)} == {*BETWEEN, *ELSEWHERE}


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


def config_of(found: dict[str, bytes]) -> dict[str, bytes]:
    """All that two runs differ in which write their states at other times."""
    return {"config.yaml": found["config.yaml"]}


def test_a_run_that_is_asked_to_stop_saves_its_state_first(
    tmp_path: Path, tiny: list[str], whole: dict[str, bytes]
) -> None:
    stop = StopRequest()

    class Ask(SupervisedPlugin):
        def before_training_iteration(self, template: Any, **_: Any) -> None:
            if template.clock.train_iterations == 5:
                stop.signum = signal.SIGTERM

    with pytest.raises(Stopped):
        run(tmp_path / "cut", tiny, plugins=[Ask()], stop=stop)
    assert (tmp_path / "cut" / "checkpoints" / "iteration-000006").is_dir()
    status = json.loads((tmp_path / "cut" / "status.json").read_text())
    assert status == {"state": "interrupted", "iteration": 6, "of": 7}
    build_report(Record(tmp_path / "cut"))
    run(tmp_path / "cut", tiny, resume=True)
    assert results(tmp_path / "cut") | config_of(whole) == whole


def test_a_stop_in_an_evaluation_saves_the_state_before_it(
    tmp_path: Path, tiny: list[str], whole: dict[str, bytes]
) -> None:
    stop = StopRequest()

    class Ask(SupervisedPlugin):
        def before_eval_iteration(self, template: Any, **_: Any) -> None:
            if template.clock.train_iterations == 6 and template.experience.domains == ("animef",):
                stop.signum = signal.SIGTERM

    with pytest.raises(Stopped):
        run(tmp_path / "cut", tiny, plugins=[Ask()], stop=stop)
    assert len((tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()) % 2 == 1
    run(tmp_path / "cut", tiny, resume=True)
    assert results(tmp_path / "cut") | config_of(whole) == whole


def test_checkpoints_hold_no_pickles_and_load_as_weights(tmp_path: Path, tiny: list[str]) -> None:
    folder = run(tmp_path / "run", [*tiny, "checkpoint.every=3"])
    found = {p.suffix for p in (folder.path / "checkpoints").rglob("*.*") if p.is_file()}
    assert found == {".safetensors", ".json"}
    load_sr3(folder.path / "checkpoints" / "iteration-000006")


def test_other_images_are_refused(tmp_path: Path, tiny: list[str], image_folder: Any) -> None:
    data = [
        f"data.folders.{n}={image_folder(n, 8, seed=k)}" for k, n in enumerate(["celeba", "animef"])
    ]
    with pytest.raises(SystemExit):
        run(tmp_path / "cut", [*tiny, *data], plugins=[Cut("before_training_iteration", 3)])
    image_folder("celeba", 9, seed=0)
    with pytest.raises(InputError, match="images are no longer those"):
        run(tmp_path / "cut", [*tiny, *data], resume=True)


def test_a_plugin_keeps_its_state_if_it_says_which(tmp_path: Path, tiny: list[str]) -> None:
    class Count(SupervisedPlugin):
        """Scales the loss by how often it was called: wrong after a cut, if that were lost."""

        def __init__(self) -> None:
            super().__init__()
            self.calls = torch.zeros(())

        def before_backward(self, template: Any, **_: Any) -> None:
            self.calls = self.calls + 1
            template.loss = template.loss * self.calls

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
