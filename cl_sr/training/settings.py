"""The numbers of training and of evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cl_sr.diffusion import Sampling


@dataclass(frozen=True)
class Optimization:
    """How a model is trained.

    Attributes:
        batch_size: images of an iteration, those of the past among them.
        lr: of Adam.
        loss: `l2` or `l1`.
        ema: decay of the moving average; 0: none.
        clip: largest norm of the gradient; 0: no limit.
        bf16: autocast the net to bfloat16.
        workers: processes that load images; 0: in this one.
        flip: whether images of the past are mirrored at random, as new ones are.
    """

    batch_size: int = 16
    lr: float = 1e-4
    loss: str = "l2"
    ema: float = 0.9999
    clip: float = 1.0
    bf16: bool = False
    workers: int = 0
    flip: bool = True


@dataclass(frozen=True)
class Evaluation:
    """When, on what and how a model is evaluated.

    Attributes:
        stream: Avalanche experiences to evaluate on, one domain each; empty: no evaluation.
        every: iterations between evaluations within an experience; 0: none.
        batch_size: images that are drawn at a time.
        sampling: how.
        draws: of each image, with other noise.
    """

    stream: Sequence[Any] = ()
    every: int = 0
    batch_size: int = 64
    sampling: Sampling = field(default_factory=Sampling)
    draws: int = 1
