"""Image metrics by protocol, and the forgetting matrix.

The Avalanche half (`avalanche_metrics`, `loggers`) is imported by its own name, as Avalanche takes
seconds to import.
"""

from typing import TYPE_CHECKING, Any

from cl_sr.evaluation.matrix import ForgettingMatrix

if TYPE_CHECKING:
    from cl_sr.evaluation.metrics import psnr, ssim

__all__ = ["ForgettingMatrix", "psnr", "ssim"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cl_sr.evaluation import metrics  # torch, which tables of results do without

    return getattr(metrics, name)
