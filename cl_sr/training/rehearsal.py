"""Images of the past in a batch of new ones."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from cl_sr.data.samples import Samples
from cl_sr.errors import InputError


def rehearse(
    batch: Tensor, given: Mapping[str, Samples], scale: int
) -> tuple[Tensor, dict[str, slice]]:
    """Put images of the past in the place of the last new ones of a batch.

    Args:
        batch: packed samples, uint8 `(B, C, H, W)`.
        given: fewer samples than that, by the strategy that gives them.
        scale: high over low resolution.

    Returns:
        The batch, and the rows of each strategy.

    Raises:
        InputError: samples of another size than the batch's.
    """
    rows: dict[str, slice] = {}
    past: list[Tensor] = []
    first = len(batch)
    new = Samples.unpack(batch, scale)
    for title, samples in given.items():
        sizes = [(ours.shape[1:], ours.dtype) for ours in (new.lr, new.hr)]
        theirs = [(found.shape[1:], found.dtype) for found in (samples.lr, samples.hr)]
        if theirs != sizes or len(samples.lr) != len(samples.hr):
            raise InputError(
                f"strategy {title}: rehearsal() must return 8-bit samples of the size of new ones, "
                f"not {samples.hr.dtype} {tuple(samples.hr.shape)} with low-resolution images "
                f"{tuple(samples.lr.shape)}"
            )
        packed = samples.to(batch.device).packed()
        rows[title] = slice(first - len(packed), first)
        first -= len(packed)
        past.insert(0, packed)
    return torch.cat([batch[:first], *past]).contiguous() if past else batch, rows
