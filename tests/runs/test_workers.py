"""Processes that load images, started as macOS and Windows start them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.run

MAIN = """
import multiprocessing, sys
if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    from cl_sr.cli.main import main
    main()
"""
STREAM = """
import numpy as np
from cl_sr.benchmarks import CELEBA, Domain, Stream


def grey(size, number):
    return np.full((size, size, 3), number, np.uint8)


other = Domain("other", "drawn by this file", crop="random", standin=lambda size, k: grey(size, k))
stream = Stream("mine", "of a file of one's own", (CELEBA, other))
"""


def test_spawned_workers_load_the_same_images(tmp_path: Path, tiny: list[str]) -> None:
    (tmp_path / "main.py").write_text(MAIN)
    (tmp_path / "mine.py").write_text(STREAM)
    settings = [*tiny, f"stream={tmp_path / 'mine.py'}", "eval.every=0"]
    for workers in (0, 1):
        result = subprocess.run(
            [sys.executable, "main.py", "run", "--out", str(workers), *settings,
             f"train.workers={workers}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
    for name in ("metrics.jsonl", "checkpoints/other/model.safetensors"):
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "1" / name).read_bytes()
