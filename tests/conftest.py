"""Markers that skip with a reason, and what many tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

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
    import torch

    torch.set_num_threads(1)  # for nets as small as these, threads only get in each other's way
    config.stash[DIFFERENCES] = []


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if rows := sorted(config.stash[DIFFERENCES]):
        terminalreporter.section("largest differences from the public implementations")
        for file, what, difference, tolerance in rows:
            terminalreporter.line(f"{file:32} {what:50} {difference:8.1e}  (at most {tolerance:g})")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
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
