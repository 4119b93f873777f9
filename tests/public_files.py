"""Files as the public SR3 code would save them."""

from __future__ import annotations

from torch import Tensor

from cl_sr.diffusion import NoiseSchedule
from cl_sr.models import SR3UNet
from cl_sr.models.public import public_buffers

SMALL = {"inner_channel": 8, "norm_groups": 4, "channel_mults": [1, 2], "res_blocks": 1}


def public_sr3(net: SR3UNet, schedule: NoiseSchedule) -> dict[str, Tensor]:
    """The file that the public SR3 code would save."""
    state = {f"denoise_fn.{name}": tensor for name, tensor in net.state_dict().items()}
    return state | {name: t.float() for name, t in public_buffers(schedule).items()}
