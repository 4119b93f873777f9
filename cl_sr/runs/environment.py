"""Where a run took place: versions, device, commit, data."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import cl_sr
from cl_sr.data.prepare import DomainData

PACKAGES = ("torch", "torchvision", "avalanche-lib", "pyiqa", "numpy", "pillow")


def describe(
    device: torch.device,
    data: Mapping[str, DomainData],
    manifest: str,
    directions: Mapping[str, bool],
) -> dict[str, Any]:
    """What `env.json` holds."""
    return {
        "cl-sr": cl_sr.__version__,
        "commit": _commit(),
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "device": _device_name(device),
        "threads": torch.get_num_threads(),
        "data": {
            name: {
                "source": domain.origin,
                "train": len(domain.train),
                "test": len(domain.test_files),
                "duplicates": domain.duplicates,
                "leaked": domain.leaked,
                "unreadable": len(domain.unreadable),
                "left_out": domain.left_out,
            }
            for name, domain in data.items()
        },
        "manifest_sha256": manifest_digest(manifest),
        "metrics": dict(directions),
    }


def manifest_digest(manifest: str) -> str:
    """What tells one list of images from another."""
    return hashlib.sha256(manifest.encode("utf-8", errors="surrogateescape")).hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    return device.type


def _commit() -> str | None:
    """The commit of the library where it runs from a clone."""
    root = Path(cl_sr.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    try:
        result = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None
