"""Running many runs: order, limits, failures and stops, with processes that pretend to train."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from cl_sr.errors import InputError
from cl_sr.runs.folder import RunFolder
from cl_sr.stopping import StopRequest
from cl_sr.sweeps import read_sweep, runner
from cl_sr.sweeps.folder import check_folder, read_description, taken
from cl_sr.sweeps.runner import Job, State, jobs_of, run_jobs

# What stands for `cl-sr run`: writes the status of a finished run after a moment.
PRETEND = """
import json, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
def stop(*_):
    (folder / "asked").write_text("")
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
folder.mkdir(parents=True, exist_ok=True)
(folder / "status.json").write_text(json.dumps({"state": "running", "iteration": 1, "of": 2}))
(folder / "config.yaml").write_text(sys.argv[3])
time.sleep(float(sys.argv[2]))
if "fails" in folder.name:
    print("Error: it diverged")
    sys.exit(2)
if "dies" in folder.name:
    signal.raise_signal(signal.SIGKILL)
(folder / "status.json").write_text(json.dumps({"state": "finished", "iteration": 2, "of": 2}))
"""


class Watch:
    """What happened, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, State]] = []
        self.most = 0
        self.jobs: list[Job] = []
        self.on_look: Callable[[], None] = lambda: None

    def changed(self, job: Job) -> None:
        self.events.append((job.name, job.state))
        self.most = max(self.most, sum(job.state is State.RUNNING for job in self.jobs))

    def look(self) -> None:
        self.on_look()


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    def take(seconds: float) -> None:
        def start(job: Job, out: Path, slot: int, at_once: int) -> subprocess.Popen[bytes]:
            log = out / "logs" / f"{job.name}.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            command = [sys.executable, "-c", PRETEND, str(job.folder), str(seconds)]
            with log.open("wb") as file:
                return subprocess.Popen([*command, job.config.to_yaml()], stdout=file)

        monkeypatch.setattr(runner, "_start", start)
        monkeypatch.setattr(runner, "LOOK_SECONDS", 0.02)

    return take


def sweep_file(tmp_path: Path, **grid: list[object]) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"preset": "tiny", "grid": grid}))
    return str(path)


def run(tmp_path: Path, names: dict[str, str], at_once: int, watch: Watch) -> list[Job]:
    """Jobs by name, each with the name of what it needs, or an empty one."""
    (member,) = read_sweep(sweep_file(tmp_path, seed=[0])).members
    jobs: dict[str, Job] = {}
    for name, needs in names.items():
        jobs[name] = Job(name, member.config, tmp_path / name, jobs.get(needs))
    watch.jobs = list(jobs.values())
    run_jobs(watch.jobs, tmp_path, at_once, watch.changed, watch.look, StopRequest())
    return watch.jobs


def test_what_others_need_comes_first_and_no_more_run_than_asked(
    tmp_path: Path, pretend: Callable[[float], None]
) -> None:
    pretend(0.1)
    watch = Watch()
    jobs = run(tmp_path, {"source": "", "a": "source", "b": "source", "c": ""}, 2, watch)
    assert all(job.state is State.FINISHED for job in jobs)
    assert watch.most == 2
    order = watch.events
    for name in ("a", "b"):
        assert order.index(("source", State.FINISHED)) < order.index((name, State.RUNNING))
    assert order.index(("c", State.RUNNING)) < order.index(("source", State.FINISHED))


def test_one_that_fails_takes_those_that_need_it_and_no_others(
    tmp_path: Path, pretend: Callable[[float], None]
) -> None:
    pretend(0.0)
    names = {"source-fails": "", "a": "source-fails", "b": "", "dies": ""}
    failed, a, b, dies = run(tmp_path, names, 2, Watch())
    assert (failed.state, failed.reason) == (State.FAILED, "it diverged")
    assert (a.state, a.reason) == (State.FAILED, "its source source-fails has failed")
    assert b.state is State.FINISHED
    assert (dies.state, dies.reason) == (State.FAILED, "killed by signal 9")


def test_a_stop_reaches_the_processes_once_and_nothing_new_begins(
    tmp_path: Path, pretend: Callable[[float], None]
) -> None:
    pretend(60)
    (member,) = read_sweep(sweep_file(tmp_path, seed=[0])).members
    jobs = [Job(name, member.config, tmp_path / name) for name in "ab"]
    stop, watch = StopRequest(), Watch()

    def ask() -> None:
        if (tmp_path / "a" / "config.yaml").is_file():
            stop.signum = signal.SIGTERM

    watch.on_look = ask
    began = time.monotonic()
    run_jobs(jobs, tmp_path, 1, watch.changed, watch.look, stop)
    assert time.monotonic() - began < 30
    assert [job.state for job in jobs] == [State.STOPPED, State.WAITING]
    assert (tmp_path / "a" / "asked").is_file()


def test_a_second_interrupt_kills_the_processes(
    tmp_path: Path, pretend: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(60)
    (member,) = read_sweep(sweep_file(tmp_path, seed=[0])).members
    job = Job("a", member.config, tmp_path / "a")

    def interrupt() -> None:
        raise KeyboardInterrupt

    started = []
    start = runner._start

    def keep(*arguments: Any) -> Any:
        started.append(start(*arguments))
        return started[-1]

    monkeypatch.setattr(runner, "_start", keep)
    with pytest.raises(KeyboardInterrupt):
        run_jobs([job], tmp_path, 1, lambda job: None, interrupt, StopRequest())
    assert [process.wait(10) for process in started] == [-signal.SIGKILL]


def test_a_source_that_another_sweep_has_begun_goes_on_with_its_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It began while this one waited, and was stopped: the run refuses any other configuration."""
    (member,) = read_sweep(sweep_file(tmp_path, seed=[0])).members
    job = Job("source", member.config, tmp_path / "source")
    theirs = member.config.model_copy(update={"device": "cpu", "stream": "celeba-df2k"})
    files = {"config.yaml": theirs.to_yaml(), "status.json": "{}"}
    monkeypatch.setattr(runner, "sys", SimpleNamespace(executable="/bin/true", platform="x"))
    for begun in (False, True):
        if begun:
            RunFolder.create(job.folder, False, files)
        runner._start(job, tmp_path, 0, 1).wait(10)
        given = (tmp_path / "configs" / "source.yaml").read_text()
        assert given == (theirs if begun else member.config).to_yaml()


def test_a_source_that_another_sweep_trains_is_waited_for(
    tmp_path: Path, pretend: Callable[[float], None]
) -> None:
    pretend(0.0)
    (member,) = read_sweep(sweep_file(tmp_path, seed=[0])).members
    source = Job("source", member.config, tmp_path / "source")
    folder = RunFolder.create(source.folder, False, {"config.yaml": "", "status.json": "{}"})
    watch = Watch()
    started, let_go = threading.Event(), threading.Event()

    def other_sweep() -> None:
        with folder.lock():
            started.set()
            let_go.wait(20)
            folder.write_json("status.json", {"state": "finished"})

    thread = threading.Thread(target=other_sweep)
    thread.start()
    started.wait(20)
    looks = iter(range(1000))
    watch.on_look = lambda: let_go.set() if next(looks) == 5 else None
    user = Job("user", member.config, tmp_path / "user", source)
    run_jobs([source, user], tmp_path, 2, watch.changed, watch.look, StopRequest())
    thread.join()
    assert watch.events[:2] == [("source", State.WAITING), ("source", State.FINISHED)]
    assert user.state is State.FINISHED


def test_what_is_finished_is_not_run_again_nor_is_its_source(tmp_path: Path) -> None:
    file = sweep_file(tmp_path, seed=[0, 1])
    out = tmp_path / "out"
    jobs = jobs_of(read_sweep(file).members, out)
    assert [job.name.split("-")[0] for job in jobs] == ["celeba", "celeba", "seed0", "seed1"]
    status = '{"state": "finished", "iteration": 1, "of": 1}'
    files = {"config.yaml": jobs[2].config.to_yaml(), "status.json": status}
    RunFolder.create(jobs[2].folder, False, files)
    again = jobs_of(read_sweep(file).members, out)
    assert [job.state for job in again] == [State.WAITING, State.FINISHED, State.WAITING]
    assert [job.name.split("-")[0] for job in again] == ["celeba", "seed0", "seed1"]
    with pytest.raises(InputError, match=r"\(its train\.lr is .*, not 0\.1\): choose"):
        jobs_of(read_sweep(file, overrides=["train.lr=0.1"]).members, out)


def test_a_folder_that_has_moved_is_the_same_sweep(tmp_path: Path) -> None:
    file, out = sweep_file(tmp_path, seed=[0]), tmp_path / "out"
    for job in jobs_of(read_sweep(file).members, out):
        status = '{"state": "finished", "iteration": 1, "of": 1}'
        files = {"config.yaml": job.config.to_yaml(), "status.json": status}
        RunFolder.create(job.folder, False, files)
    out.rename(tmp_path / "moved")
    (job,) = jobs_of(read_sweep(file).members, tmp_path / "moved")
    assert job.state is State.FINISHED


def test_a_source_of_another_stream_is_taken(tmp_path: Path) -> None:
    shared = tmp_path / "sources"
    file = sweep_file(tmp_path, stream=["celeba-anime", "celeba-df2k"])
    jobs = jobs_of(
        read_sweep(file, overrides=["stream=celeba-anime"]).members, tmp_path / "a", shared
    )
    status = '{"state": "interrupted", "iteration": 1, "of": 2}'
    files = {"config.yaml": jobs[0].config.to_yaml(), "status.json": status}
    RunFolder.create(jobs[0].folder, False, files)
    other = ["stream=celeba-df2k", "checkpoint.minutes=3"]
    again = jobs_of(read_sweep(file, overrides=other).members, tmp_path / "b", shared)
    assert again[0].folder == jobs[0].folder
    assert again[0].config.stream == "celeba-anime"  # it goes on as it began


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")
def test_a_sweep_that_is_killed_takes_its_runs_with_it(tmp_path: Path) -> None:
    script = (
        "import subprocess, sys, time; from cl_sr.sweeps.runner import _end_with_parent as end; "
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], "
        "preexec_fn=end, start_new_session=True); print(child.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    for _ in range(100):
        try:
            alive = "\nState:\tZ" not in Path(f"/proc/{child}/status").read_text()
        except FileNotFoundError:
            alive = False
        if not alive:
            return
        time.sleep(0.1)
    raise AssertionError("the child lives on")


def test_two_sweeps_do_not_share_a_folder(tmp_path: Path) -> None:
    sweep = read_sweep(sweep_file(tmp_path, seed=[0]))
    out = tmp_path / "out"
    with (
        taken(sweep, out),
        pytest.raises(InputError, match="another process is at work"),
        taken(sweep, out),
    ):
        pass
    check_folder(sweep, out)
    with pytest.raises(InputError, match="holds the sweep 'mine'"):
        check_folder(read_sweep("small/time-steps"), out)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="holds no sweep"):
        check_folder(sweep, tmp_path / "full")
    with pytest.raises(InputError, match="is a file"):
        check_folder(sweep, tmp_path / "full" / "letter.txt")


def test_members_of_earlier_calls_stay_in_the_sweep(tmp_path: Path) -> None:
    file, out = sweep_file(tmp_path, seed=[0, 1, 2]), tmp_path / "out"
    for override in ("seed=[0, 1]", "seed=2"):
        with taken(read_sweep(file, overrides=[override]), out):
            pass
        (out / "seed1").mkdir(exist_ok=True)  # has been begun
    # seed0 has not, and may as well have been taken out of the file.
    assert list(read_description(out)["members"]) == ["seed2", "seed1"]
    with taken(read_sweep(file), out):
        pass
    assert list(read_description(out)["members"]) == ["seed0", "seed1", "seed2"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"members": [], "keys": [], "baseline": {}}'])
def test_a_damaged_description_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(InputError, match=r"sweep\.json"):
        read_description(tmp_path)


def test_processes_share_the_cores_and_take_a_gpu_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(runner, "gpu_count", lambda: 2)
    assert runner._share(0, 2) == {"OMP_NUM_THREADS": "4", "CUDA_VISIBLE_DEVICES": "0"}
    assert runner._share(3, 16) == {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "1"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, GPU-7f")  # what a cluster gave to the job
    names = [runner._share(slot, 2)["CUDA_VISIBLE_DEVICES"] for slot in range(3)]
    assert names == ["4", "GPU-7f", "4"]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(runner, "gpu_count", lambda: 1)
    assert runner._share(0, 2) == {}
