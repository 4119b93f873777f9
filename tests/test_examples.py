"""The examples in docstrings are run, with smaller runs than they speak of."""

from __future__ import annotations

import doctest
import importlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import TINY
from PIL import Image
from running import run

import cl_sr
from cl_sr.config import split_override

ROOT = Path(cl_sr.__file__).resolve().parent
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def examples() -> Iterator[doctest.DocTest]:
    """Of all modules that have some, in the order of their names."""
    for folder, _, files in os.walk(ROOT, followlinks=True):
        for file in sorted(files):
            path = Path(folder) / file
            if path.suffix == ".py" and ">>>" in path.read_text():
                parts = path.relative_to(ROOT).with_suffix("").parts
                module = importlib.import_module(".".join(("cl_sr", *parts)))
                found = doctest.DocTestFinder(exclude_empty=True).find(module)
                yield from (test for test in found if test.examples)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the examples take it."""
    folder = tmp_path_factory.mktemp("examples")
    run(folder / "runs" / "a", [*TINY, "diffusion.steps=20"])
    Image.linear_gradient("L").resize((9, 7)).save(folder / "small.png")
    return folder


@pytest.mark.run
def test_examples(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    real, smaller = cl_sr.run, dict(map(split_override, [*TINY, "strategy.router.rank=2"]))
    monkeypatch.setattr(
        cl_sr, "run", lambda *args, **keys: real(*args, progress=False, **keys, **smaller)
    )
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    tests = list(examples())
    assert len(tests) >= 6
    for test in tests:
        test.globs |= {"cl_sr": cl_sr, "torch": torch, "Image": Image}
        words: list[str] = []
        assert runner.run(test, out=words.append).failed == 0, "".join(words)
    assert Image.open("large.png").size == (36, 28)
