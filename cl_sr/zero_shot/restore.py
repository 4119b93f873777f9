"""DDNM on a user's own low-resolution images, of any size."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from cl_sr.degradations.pixels import to_bytes, to_floats
from cl_sr.models import Prior
from cl_sr.zero_shot.ddnm import ddnm
from cl_sr.zero_shot.operators import Operator


def restore(
    prior: Prior,
    pixels: Tensor,
    operator: Operator,
    scale: int,
    callback: Callable[[dict[str, Any]], None] | None = None,
    **options: Any,
) -> tuple[Tensor, float]:
    """The high-resolution image of a low-resolution one, which is not degraded again.

    Sizes that the prior cannot take are padded by repeating the border, and cut off after.

    Args:
        prior: on the device to use.
        pixels: uint8 `(3, h, w)`.
        operator: the degradation that made the image, by `scale`.
        scale: high over low resolution.
        callback, options: of `ddnm`.

    Returns:
        uint8 `(3, h * scale, w * scale)`, and the PSNR in dB between the low-resolution image and
        what the operator makes of the result before it is rounded to 8 bit (capped at 100).
    """
    device = next(prior.parameters()).device
    lr = to_floats(pixels[None].to(device))
    height, width = lr.shape[-2:]
    step = prior.multiple // math.gcd(prior.multiple, scale)
    padded = F.pad(lr, (0, -width % step, 0, -height % step), mode="replicate")
    image = ddnm(prior, padded, operator, callback=callback, **options)
    error = (operator.down(image.clamp(-1, 1)) - padded).square().mean() / 4
    consistency = min(100.0, -10 * math.log10(max(float(error), 1e-12)))
    image = image[0, :, : height * scale, : width * scale]
    return to_bytes(image).cpu(), consistency
