"""What is used of Avalanche, imported without what a denoiser never asks of it.

Avalanche imports all of itself, and with it torchmetrics (for the accuracy of classes), which
imports scipy.signal and transformers, and wandb and gdown: half of the time that it takes. Here
those three are put off until somebody asks for something in them, who then gets the real one. So
our code imports from here, and nowhere else from `avalanche`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

PUT_OFF = ("torchmetrics", "torchmetrics.functional", "wandb", "gdown")


class _PutOff(ModuleType):
    """Stands for a module; imports it when something in it is asked for, once Avalanche is in."""

    def __init__(self, name: str, loading: list[bool]) -> None:
        super().__init__(name)
        self.__path__: list[str] = []
        self._loading = loading

    def __getattr__(self, name: str) -> Any:
        if not self._loading:
            return getattr(importlib.import_module(self.__name__), name)
        if name.startswith("__"):
            raise AttributeError(name)

        def later(*arguments: Any, **named: Any) -> Any:
            return getattr(importlib.import_module(self.__name__), name)(*arguments, **named)

        return later


def _import() -> None:
    """Import Avalanche, once; where it was imported before, nothing happens."""
    if "avalanche" in sys.modules:
        return
    loading = [True]
    put_off = {name: _PutOff(name, loading) for name in PUT_OFF if name not in sys.modules}
    sys.modules |= put_off
    with _a_home():
        try:
            importlib.import_module("avalanche.training.templates")
        except Exception:  # another version may ask for more than names: then the plain way
            for name in [name for name in sys.modules if name.partition(".")[0] == "avalanche"]:
                del sys.modules[name]
            _take_out(put_off)
            importlib.import_module("avalanche.training.templates")
        finally:
            _take_out(put_off)
            loading.clear()


@contextmanager
def _a_home() -> Iterator[None]:
    """A folder for what Avalanche writes while it is imported, `~/.avalanche/config.json`.

    It tells where its own data sets are, of which none is used here. Where there is none that can
    be read (a container, a node of a cluster, a full disk, two first imports at once), a temporary
    home serves for the import.
    """
    try:
        with open(os.path.expanduser("~/.avalanche/config.json"), encoding="utf-8") as file:
            readable = isinstance(json.load(file), dict)
    except (OSError, ValueError):
        readable = False
    if readable:
        yield
        return
    names = {"HOME", "USERPROFILE"}
    before = {name: os.environ[name] for name in names & set(os.environ)}
    with tempfile.TemporaryDirectory(prefix="cl-sr-") as home:
        os.environ |= dict.fromkeys(names, home)
        try:
            yield
        finally:
            for name in names:
                os.environ.pop(name, None)
            os.environ |= before
    ours: Any = sys.modules["avalanche.benchmarks.datasets.dataset_utils"]
    ours.AVALANCHE_CONFIG["dataset_location"] = "~/.avalanche/data"  # as it would have been


def _take_out(modules: Mapping[str, ModuleType]) -> None:
    for name, module in modules.items():
        if sys.modules.get(name) is module:
            del sys.modules[name]


_import()

from avalanche.benchmarks import benchmark_from_datasets  # noqa: E402
from avalanche.benchmarks.utils import DataAttribute, make_avalanche_dataset  # noqa: E402
from avalanche.benchmarks.utils.data_attribute import ConstantSequence  # noqa: E402
from avalanche.core import BasePlugin  # noqa: E402
from avalanche.evaluation import GenericPluginMetric  # noqa: E402
from avalanche.evaluation.metric_results import MetricValue  # noqa: E402
from avalanche.evaluation.metrics import Mean  # noqa: E402
from avalanche.logging import BaseLogger  # noqa: E402
from avalanche.training import plugins  # noqa: E402
from avalanche.training.plugins import (  # noqa: E402
    EvaluationPlugin,
    FromScratchTrainingPlugin,
    LRSchedulerPlugin,
    SupervisedPlugin,
)
from avalanche.training.plugins.clock import Clock  # noqa: E402
from avalanche.training.templates import SupervisedTemplate  # noqa: E402
from avalanche.training.templates.base_sgd import PeriodicEval  # noqa: E402

__all__ = [
    "BaseLogger",
    "BasePlugin",
    "Clock",
    "ConstantSequence",
    "DataAttribute",
    "EvaluationPlugin",
    "FromScratchTrainingPlugin",
    "GenericPluginMetric",
    "LRSchedulerPlugin",
    "Mean",
    "MetricValue",
    "PeriodicEval",
    "SupervisedPlugin",
    "SupervisedTemplate",
    "benchmark_from_datasets",
    "make_avalanche_dataset",
    "plugins",
]
