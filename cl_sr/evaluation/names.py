"""The names of metrics, which are checked before anything heavy is imported."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from cl_sr.errors import InputError, nearest

OWN = ("psnr", "ssim", "colour_error", "sharpness")


def check_metrics(names: Sequence[str]) -> None:
    """Refuse metrics that neither this library nor pyiqa has.

    Raises:
        InputError: with the nearest name.
    """
    for name in names:
        if name in OWN:
            continue
        known = [*OWN, *_pyiqa()]
        if name not in known:
            raise InputError(f"eval.metrics: unknown metric {name!r}: {nearest(name, known)}")


def _pyiqa() -> list[str]:
    """Its names, from the one file of it that has them: to import all of it takes seconds."""
    package = importlib.util.find_spec("pyiqa")
    assert package is not None
    assert package.origin is not None
    file = Path(package.origin).with_name("default_model_configs.py")
    spec = importlib.util.spec_from_file_location("cl_sr_pyiqa_names", file)
    if spec is None or spec.loader is None or not file.is_file():  # another version's habits
        import pyiqa

        return list(pyiqa.list_models())
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return sorted(module.DEFAULT_CONFIGS)
