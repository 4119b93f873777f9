"""What a degradation is."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from cl_sr.degradations.resize import upsample


class Degradation:
    """How low-resolution images come about from high-resolution ones.

    To add one, derive from this class, write `degrade`, and enter the class in `DEGRADATIONS` by
    its name, which `data.kernel` then takes; and where a model is loaded that was trained on it.
    It may be random: nothing takes it that an image that is degraded twice gives the same
    twice, and a low-resolution image travels with the one that it was made from
    (`cl_sr.data.samples`).

    Args:
        scale: high over low resolution, at least 1.

    Attributes:
        name: in configurations (`data.kernel`).
        scale: as above.
    """

    name: ClassVar[str]

    def __init__(self, scale: int) -> None:
        if scale < 1:
            raise ValueError(f"the scale must be at least 1, not {scale}")
        self.scale = scale

    def degrade(self, hr: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The low-resolution images of 8-bit images.

        Args:
            hr: uint8 `(B, 3, H, W)`; H and W are multiples of `scale`.
            generator: what is random comes from it alone; None: torch's global one.

        Returns:
            uint8 `(B, 3, H / scale, W / scale)`.
        """
        raise NotImplementedError

    def condition(self, lr: Tensor) -> Tensor:
        """What a model is given of low-resolution images, at the size of high-resolution ones.

        Args:
            lr: uint8 `(B, 3, h, w)`.

        Returns:
            uint8 `(B, 3, h * scale, w * scale)`: SR3's bicubic enlargement, unless overridden.
        """
        return upsample(lr, self.scale)
