"""File systems that refuse what most can do."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from conftest import TINY
from running import run

from cl_sr.errors import InputError
from cl_sr.files import check_writable, locked, whole_folder, write_text

fcntl = pytest.importorskip("fcntl", reason="no POSIX locks here")
FSYNC = os.fsync


def without(monkeypatch: pytest.MonkeyPatch, *, fsync: int = 0, flock: int = 0) -> None:
    """A file system that answers these errors to an fsync of a folder, and to locks."""

    def no_fsync(handle: int) -> None:
        if fsync and stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(fsync, os.strerror(fsync))
        FSYNC(handle)

    def no_flock(*_: object) -> None:
        raise OSError(flock, os.strerror(flock))

    monkeypatch.setattr(os, "fsync", no_fsync)
    if flock:
        monkeypatch.setattr(fcntl, "flock", no_flock)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_folder_that_cannot_be_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    without(monkeypatch, fsync=code)
    with whole_folder(tmp_path / "made") as partial:
        write_text(partial / "a", "text")
    assert (tmp_path / "made" / "a").read_text() == "text"


def test_a_disk_that_fails_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, fsync=errno.EIO)
    with pytest.raises(OSError, match="error"), whole_folder(tmp_path / "made"):
        pass
    with pytest.raises(InputError, match="cannot write to"):
        check_writable(tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS])
def test_without_locks_a_file_stands_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    without(monkeypatch, flock=code)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with locked(tmp_path):
            with pytest.raises(InputError, match="another process"), locked(tmp_path):
                pass
            assert list(tmp_path.glob("*.soft")) or code == errno.ENOSYS
        with locked(tmp_path):
            pass
    assert told
    assert not list(tmp_path.glob("*.soft"))


def test_a_place_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())


@pytest.mark.run
def test_a_run_on_such_a_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, fsync=errno.EINVAL, flock=errno.ENOLCK)
    with pytest.warns(UserWarning, match="without locks"):
        record = run(tmp_path / "run", [*TINY, "checkpoint.every=2"])
    assert record.state == "finished"


@pytest.mark.parametrize("home", ["empty config", "read-only"])
def test_avalanche_is_imported_whatever_the_home_is(tmp_path: Path, home: str) -> None:
    environment = dict(os.environ) | {"HOME": str(tmp_path / "home")}
    config = tmp_path / "home" / ".avalanche" / "config.json"
    if home == "empty config":
        config.parent.mkdir(parents=True)
        config.touch()
    else:  # a file is read-only also to root
        (tmp_path / "home").touch()
    there = [p.name for p in tmp_path.iterdir()]
    code = (
        "import os, warnings; warnings.simplefilter('ignore'); before = os.environ['HOME']\n"
        "import cl_sr.avalanche\n"
        "from avalanche.benchmarks.datasets.dataset_utils import default_dataset_location as at\n"
        "assert os.environ['HOME'] == before; print(at('mnist'))\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert out.returncode == 0, out.stderr
    assert out.stdout.strip().endswith(".avalanche/data/mnist")
    assert [p.name for p in tmp_path.iterdir()] == there
    if home == "empty config":
        assert config.read_text() == ""
