"""How the house stands: arrows go down only, and nothing is too large to be read."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("cl_sr", "strategies", "benchmarks")
FILES = [
    path
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*.py"))
    if not any(parent.is_symlink() for parent in path.parents)
]


@pytest.fixture
def resolved(tmp_path: Path) -> Path:
    """A copy of the package in which strategies, benchmarks and configs are folders, not links."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "cl_sr", tmp_path / "cl_sr", ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def contracts(folder: Path) -> tuple[int, str]:
    """What import-linter says of the package in a folder."""
    result = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()",
         "--no-cache"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )  # fmt: skip
    return result.returncode, result.stdout + result.stderr


def test_arrows_go_down_only_and_in_no_circle(resolved: Path) -> None:
    code, told = contracts(resolved)
    assert code == 0, told
    assert "2 kept, 0 broken" in told


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("diffusion/times.py", "from cl_sr.models.sizes import check_sizes", "arrows go down only"),
        ("strategies/memory.py", "from cl_sr.inference.nets import Nets", "arrows go down only"),
        # The arrows of type checking count.
        (
            "models/sizes.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from cl_sr.runs import plan",
            "arrows go down only",
        ),
        ("data/order.py", "from cl_sr.data.samples import Samples", "no circles"),
    ],
)
def test_an_arrow_that_goes_up_is_found(
    resolved: Path, file: str, line: str, contract: str
) -> None:
    path = resolved / "cl_sr" / file
    path.write_text(f"{path.read_text()}\n{line}\n")
    code, told = contracts(resolved)
    assert code == 1
    assert f"{contract} BROKEN" in told


def classes(path: Path) -> Iterator[ast.ClassDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef):
            yield node


def public_names(node: ast.ClassDef) -> set[str]:
    """What a class declares, and what its methods set on `self`."""
    found: set[str] = set()
    for part in node.body:
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(part.name)
        elif isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            found.add(part.target.id)
        elif isinstance(part, ast.Assign):
            found |= {target.id for target in part.targets if isinstance(target, ast.Name)}
    for part in ast.walk(node):
        if (
            isinstance(part, ast.Attribute)
            and isinstance(part.ctx, ast.Store)
            and isinstance(part.value, ast.Name)
            and part.value.id == "self"
        ):
            found.add(part.attr)
    return {name for name in found if not name.startswith("_")}


def inherited_names(cls: type) -> set[str]:
    """What the classes that it derives from declare, or set on `self`."""
    found: set[str] = set()
    for base in cls.__mro__[1:-1]:
        found |= set(vars(base)) | set(getattr(base, "__annotations__", {}))
        try:
            tree = ast.parse(inspect.cleandoc("if True:\n" + inspect.getsource(base)))
        except (OSError, TypeError, SyntaxError):
            continue
        found |= {
            part.attr
            for part in ast.walk(tree)
            if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store)
        }
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_too_large_to_be_read(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= (350 if path.name == "template.py" else 400)
    for node in classes(path):
        assert node.end_lineno is not None
        assert node.end_lineno - node.lineno < 300, node.name
        if len(public_names(node)) > 15:
            folder = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(folder if folder[0] == "cl_sr" else ("cl_sr", *folder))
            cls = getattr(importlib.import_module(name), node.name)
            own = public_names(node) - inherited_names(cls)
            assert len(own) <= 15, (node.name, sorted(own))


def test_training_knows_of_no_family() -> None:
    for path in (ROOT / "cl_sr" / "training").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "SR3UNet" not in text, path
        assert "families" not in text, path


def test_one_file_knows_how_pixels_become_floats() -> None:
    there = [path for path in FILES if "127.5" in path.read_text(encoding="utf-8")]
    assert there == [ROOT / "cl_sr" / "degradations" / "pixels.py"]


def in_another_process(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_run_imports_what_it_needs_and_avalanche_gets_what_is_put_off() -> None:
    """Accuracy of classes is of torchmetrics, which is real once it is asked for."""
    out = in_another_process(
        "import sys, torch, warnings; warnings.simplefilter('ignore')\n"
        "from cl_sr.runs import execute\n"
        "from cl_sr.evaluation.metrics import build_metrics\n"
        "build_metrics(['psnr', 'ssim'], 'rgb8', 16, torch.device('cpu'))\n"
        "heavy = ('transformers', 'torchmetrics', 'wandb', 'pyiqa', 'scipy.stats')\n"
        "print([name for name in heavy if name in sys.modules])\n"
        "from avalanche.evaluation.metrics import TopkAccuracy\n"
        "metric = TopkAccuracy(1)\n"
        "metric.update(torch.eye(3), torch.tensor([0, 1, 1]), 0)\n"
        "import torchmetrics\n"
        "print(round(metric.result()[0], 3), torchmetrics.__file__.endswith('__init__.py'))\n"
    )
    assert out.splitlines() == ["[]", "0.667 True"]


def test_avalanche_that_was_imported_before_is_taken_as_it_is() -> None:
    out = in_another_process(
        "import warnings; warnings.simplefilter('ignore')\n"
        "import avalanche.training.plugins as theirs, torchmetrics\n"
        "from cl_sr.avalanche import plugins\n"
        "import sys; print(plugins is theirs, sys.modules['torchmetrics'] is torchmetrics)\n"
    )
    assert out.strip() == "True True"
