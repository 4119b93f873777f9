"""A run that was killed in its second experience, made once, and the same one without a cut."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import TINY
from running import EVERY, SIXTH, Cut, results, run

SETTINGS = [*TINY, *EVERY]


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a run with `SETTINGS` comes to."""
    return results(run(tmp_path_factory.mktemp("whole") / "run", SETTINGS).path)


@pytest.fixture(scope="session")
def _cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cut") / "run"
    with pytest.raises(SystemExit):
        run(path, SETTINGS, plugins=[Cut(*SIXTH)])
    return path


@pytest.fixture
def cut(_cut: Path, tmp_path: Path) -> Path:
    """A run with `SETTINGS` that was killed after its sixth iteration: a copy to change."""
    shutil.copytree(_cut, tmp_path / "cut")
    return tmp_path / "cut"
