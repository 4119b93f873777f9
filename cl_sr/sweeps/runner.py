"""Running the members of a sweep, each in a process of its own: one that fails takes no other."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from filelock import BaseFileLock

from cl_sr.config import RunConfig, resolve
from cl_sr.errors import InputError
from cl_sr.files import acquire, write_text
from cl_sr.runs.folder import RunFolder
from cl_sr.stopping import StopRequest
from cl_sr.sweeps.grid import Member
from cl_sr.sweeps.sources import after_source, fingerprint, source
from cl_sr.yaml_text import read_yaml

LOOK_SECONDS = 0.3  # between looks at the processes


class State(Enum):
    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass
class Job:
    """A run to be made, and how far it has come.

    Attributes:
        name: of the member or the source.
        config: of the run.
        folder: where it is written.
        needs: the source that has to be finished first.
        state: of the job.
        reason: why it failed, in one line.
        elsewhere: whether another process is at work on it, and is waited for.
        seconds: that its process took.
    """

    name: str
    config: RunConfig
    folder: Path
    needs: Job | None = None
    state: State = State.WAITING
    reason: str = ""
    elsewhere: bool = False
    seconds: float = 0.0

    def progress(self) -> tuple[int, int]:
        """Iterations so far, and of the run; zeros where it has not begun."""
        try:
            status = RunFolder(self.folder).read_json("status.json")
            return int(status["iteration"]), int(status["of"])
        except (InputError, KeyError, TypeError, ValueError):
            return 0, 0

    @property
    def finished(self) -> bool:
        return RunFolder(self.folder).finished

    @property
    def locked(self) -> bool:
        """Whether a process is at work on it."""
        folder = RunFolder(self.folder)
        return folder.has("config.yaml") and folder.locked

    def command(self, out: Path) -> list[str]:
        """What the process is given, that goes on where one of before was stopped."""
        if self.needs is None:  # another sweep may have begun it while this one waited
            self.config = _source_config(self)
        config = out / "configs" / f"{self.name}.yaml"
        write_text(config, self.config.to_yaml())
        return ["run", "--config", str(config), "--out", str(self.folder), "--resume", "auto"]


def jobs_of(members: Sequence[Member], out: Path, shared: Path | None = None) -> list[Job]:
    """The runs of a sweep below `out`, sources first; those that are finished are told as such.

    Args:
        members: of the sweep.
        out: its folder.
        shared: where sources are, that other sweeps use too; by default in `out`.

    Raises:
        InputError: a folder holds a run of another configuration.
    """
    sources: dict[str, Job] = {}
    jobs = []
    look = functools.cache(fingerprint)  # members have their images in common
    for member in members:
        config, needs = member.config, None
        if (found := source(member.config, look)) is not None:
            name, first = found
            path = (shared or out / "sources") / name
            needs = sources.setdefault(name, Job(name, first, path))
            config = after_source(member.config, path.absolute())
        jobs.append(Job(member.name, config, out / member.name, needs))
    for job in [*sources.values(), *jobs]:
        folder = RunFolder(job.folder)
        if not folder.has("config.yaml"):
            continue
        if job.name in sources:
            job.config = _source_config(job)
        else:
            job.config = _as_begun(job.config, job.folder)
            folder.check_same(job.config)
        if folder.finished:
            job.state = State.FINISHED
    # A source is trained for those that still need it.
    wanted = {job.needs.name for job in jobs if job.needs and job.state is not State.FINISHED}
    return [*(sources[name] for name in sources if name in wanted), *jobs]


def _source_config(job: Job) -> RunConfig:
    """Of a source that was begun, what it was begun with: maybe by a sweep of another stream."""
    if not RunFolder(job.folder).has("config.yaml"):
        return job.config
    return resolve(read_yaml(job.folder / "config.yaml"))


def _as_begun(config: RunConfig, folder: Path) -> RunConfig:
    """The configuration with the path that its source had when the run began: folders may move."""
    theirs = read_yaml(folder / "config.yaml").get("init")
    if not isinstance(theirs, str) or not config.init:
        return config
    if Path(theirs).parts[-3:] == Path(config.init).parts[-3:]:
        return config.model_copy(update={"init": theirs})
    return config


def run_jobs(
    jobs: Sequence[Job],
    out: Path,
    at_once: int,
    changed: Callable[[Job], None],
    look: Callable[[], None],
    stop: StopRequest,
) -> None:
    """Run all that is waiting, at most `at_once` at a time.

    Args:
        jobs: from `jobs_of`.
        out: the sweep's folder, for `configs/` and `logs/`.
        at_once: processes.
        changed: told of each job whose state has changed.
        look: called a few times a second.
        stop: a request to stop; the processes are asked to save their states, and waited for.
    """
    running: dict[int, tuple[Job, subprocess.Popen[bytes], float]] = {}  # by slot
    held: dict[str, BaseFileLock] = {}  # so that no other sweep begins them
    forwarded = False

    def turn(job: Job, state: State, reason: str = "") -> None:
        job.state, job.reason = state, reason
        changed(job)

    try:
        while True:
            for slot, (job, process, since) in list(running.items()):
                if process.poll() is not None:
                    del running[slot]
                    job.seconds = time.monotonic() - since
                    held.pop(job.name).release()
                    turn(job, *_outcome(job, process.returncode, stop.signum is not None, out))
            if stop.signum is None:
                for job in jobs:
                    needed = job.needs
                    if job.state is State.WAITING and needed and needed.state is State.FAILED:
                        turn(job, State.FAILED, f"its source {needed.name} has failed")
                free = [slot for slot in range(at_once) if slot not in running]
                ready = (job for job in jobs if _ready(job) and not _elsewhere(job, changed))
                for slot, job in zip(free, ready, strict=False):
                    if (lock := _lock(job)) is None:
                        continue
                    held[job.name] = lock
                    running[slot] = job, _start(job, out, slot, at_once), time.monotonic()
                    turn(job, State.RUNNING)
            elif not forwarded:
                forwarded = True
                for _, process, _ in running.values():
                    process.send_signal(stop.signum)
            waiting = stop.signum is None and any(job.state is State.WAITING for job in jobs)
            if not running and not waiting:
                return
            look()
            time.sleep(LOOK_SECONDS)
    finally:
        for _, process, _ in running.values():  # a second Ctrl-C: no time to save anything
            process.kill()
        for lock in held.values():
            lock.release()


def _ready(job: Job) -> bool:
    done = job.needs is None or job.needs.state is State.FINISHED
    return job.state is State.WAITING and done


def _elsewhere(job: Job, changed: Callable[[Job], None]) -> bool:
    """Whether another process is at work on this run, or has finished it by now."""
    lock = _lock(job)
    busy = lock is None or job.locked
    if lock:
        lock.release()
    if busy and not job.elsewhere:
        job.elsewhere = True
        changed(job)
    finished = job.finished
    if not busy and finished:
        job.state = State.FINISHED
        changed(job)
    return busy or finished


def _lock(job: Job) -> BaseFileLock | None:
    """Held by a sweep from before a run's process begins until it ends; None: by another."""
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    return acquire(job.folder.with_name(f".{job.folder.name}.lock"))


def _start(job: Job, out: Path, slot: int, at_once: int) -> subprocess.Popen[bytes]:
    """The job as a process."""
    log = out / "logs" / f"{job.name}.log"
    command = job.command(out)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "cl_sr", *command],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | _share(slot, at_once),
            start_new_session=True,  # Ctrl-C comes to them from here, once
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )


def _end_with_parent() -> None:
    """In the new process: be asked to stop when the sweep is killed, and save the state."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _share(slot: int, at_once: int) -> dict[str, str]:
    """What a process gets of the machine: a GPU of its own, and its part of the cores."""
    environment = {}
    if "OMP_NUM_THREADS" not in os.environ:
        environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // at_once))
    if (gpus := gpu_count()) > 1:
        # As a cluster has named them, who may give a job some of a machine's.
        given = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        names = given.split(",") if given else [str(k) for k in range(gpus)]
        environment["CUDA_VISIBLE_DEVICES"] = names[slot % len(names)].strip()
    return environment


def gpu_count() -> int:
    import torch

    return torch.cuda.device_count()


def _outcome(job: Job, code: int, stopping: bool, out: Path) -> tuple[State, str]:
    if job.finished:
        return State.FINISHED, ""
    if stopping:
        return State.STOPPED, ""
    log = out / "logs" / f"{job.name}.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    told = [line for line in lines if line.startswith("Error: ")]
    last = (told or [line for line in lines if line.strip()] or [""])[-1]
    how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    return State.FAILED, last.removeprefix("Error: ").strip() or how
