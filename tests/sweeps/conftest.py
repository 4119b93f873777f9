"""What tests of sweeps share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Writes a sweep's file, with its keys in the order in which they are given."""

    def make(**values: Any) -> str:
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(values, sort_keys=False))
        return str(path)

    return make
