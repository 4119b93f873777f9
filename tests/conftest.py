"""Markers that skip with a reason, and what many tests share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

SHARED = Path(__file__).resolve().parents[2] / "shared"

# A run of seconds: the smallest net, few images, few iterations.
TINY = [
    "data.size=16",
    "data.standin_images=20",
    "model.inner_channel=8",
    "model.channel_mults=[1, 1]",
    "model.attn_res=[8]",
    "model.res_blocks=1",
    "model.norm_groups=4",
    "train.iterations=[4, 3]",
    "train.batch_size=4",
    "eval.every=2",
    "eval.images=3",
    "eval.steps=2",
    "eval.samples=2",
    "device=cpu",
]


# What was compared with recordings: file, what, largest difference, tolerance.
DIFFERENCES = pytest.StashKey[list[tuple[str, str, float, float]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[DIFFERENCES] = []
    if not getattr(config.option, "numprocesses", None):  # not where others run the tests
        import torch

        torch.set_num_threads(1)  # for nets as small as these, threads get in each other's way


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):  # of pytest-xdist
        session.config.workeroutput["differences"] = session.config.stash[DIFFERENCES]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    rows = getattr(node, "workeroutput", {}).get("differences", [])
    node.config.stash[DIFFERENCES] += map(tuple, rows)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if rows := sorted(config.stash[DIFFERENCES]):
        terminalreporter.section("largest differences from the public implementations")
        for file, what, difference, tolerance in rows:
            terminalreporter.line(f"{file:32} {what:50} {difference:8.1e}  (at most {tolerance:g})")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not any(map(item.get_closest_marker, ("run", "slow"))):
            item.add_marker("unit")
        if item.get_closest_marker("shared") and not SHARED.is_dir():
            item.add_marker(pytest.mark.skip(reason=f"no folder {SHARED}"))
        if item.get_closest_marker("gpu"):
            import torch

            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Callable[[str, str, float, float], None]:
    """Adds a line to the table of differences at the end."""

    def add(file: str, what: str, difference: float, tolerance: float) -> None:
        request.config.stash[DIFFERENCES].append((file, what, difference, tolerance))

    return add


@pytest.fixture(scope="session", autouse=True)
def _stand_ins_are_drawn_once() -> Iterator[None]:
    """A quarter of a small run's time goes into drawing the same ones again."""
    from cl_sr.data import standins

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(standins, "draw", cache(standins.draw))
        yield


@pytest.fixture(autouse=True)
def _no_run_in_a_unit_test(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The unit tier stays what it is called: a run in this process is found out."""
    module = sys.modules.get("cl_sr.runs.results")
    if module is not None and request.node.get_closest_marker("unit"):

        def refuse(*_: object) -> None:
            raise AssertionError("this test executes a run: mark it with pytest.mark.run")

        monkeypatch.setattr(module.Results, "begin", refuse)


@pytest.fixture(scope="session")
def golden() -> Path:
    return SHARED / "golden"


@pytest.fixture(scope="session")
def real_images() -> Path:
    return SHARED / "data"


@pytest.fixture
def tiny() -> list[str]:
    """Overrides that make a run take seconds."""
    return list(TINY)


@pytest.fixture
def image_folder(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of random PNG images."""

    def make(name: str, count: int, size: tuple[int, int] = (24, 20), seed: int = 0) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        for k in range(count):
            pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{k:03d}.png")
        return folder

    return make
