"""Real processes, SIGKILL, and the same bits after resuming; `kill_and_resume.py` does many."""

import importlib.util
import random
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location(
    "kill_and_resume", Path(__file__).with_name("kill_and_resume.py")
)
assert spec is not None
assert spec.loader is not None
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


@pytest.mark.slow
def test_killed_runs_end_with_the_same_bits(tmp_path: Path) -> None:
    tool.finish(tool.start(tmp_path / "whole", "timestep-window:stop=500"))
    how = []
    for step in (17, None):  # while a checkpoint is written; then at any time
        chance = random.Random(step or 0)
        how.append(tool.kill_once(tmp_path / "cut", "timestep-window:stop=500", chance, step))
    assert how[0] == "killed at step 17 of writing"
    tool.finish(tool.start(tmp_path / "cut", "timestep-window:stop=500", "--resume", "auto"))
    assert tool.results(tmp_path / "cut") == tool.results(tmp_path / "whole")
