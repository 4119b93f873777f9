"""SR3 (Saharia et al., arXiv 2104.07636): a U-Net that is shown the enlarged image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from cl_sr.image_size import ImageSize
from cl_sr.models.family import Family, ModelKeys
from cl_sr.models.sizes import check_sizes
from cl_sr.schema import Depth, Fraction, Positive, Size

if TYPE_CHECKING:
    from cl_sr.models.model import Model


class SR3Keys(ModelKeys):
    """The U-Net; names and meaning as in `cl_sr.models.SR3UNet`."""

    inner_channel: Size = Field(64, description="channels at full resolution")
    channel_mults: tuple[Depth, ...] = Field(
        (1, 2, 4, 8, 8), description="of each resolution", min_length=1, max_length=16
    )
    attn_res: tuple[Positive, ...] = Field(
        (16,), description="resolutions with self-attention, of the shorter side"
    )
    res_blocks: Depth = Field(2, description="residual blocks a resolution")
    norm_groups: Size = Field(32, description="of group norm")
    dropout: Fraction = Field(0.0, description="in the residual blocks")


def architecture(
    keys: SR3Keys, image_size: ImageSize, conditional: bool, channels: int = 3
) -> dict[str, Any]:
    """The arguments of `SR3UNet`."""
    check_sizes(keys.inner_channel, keys.channel_mults, keys.norm_groups, image_size)
    own = keys.model_dump(mode="json", exclude={"family"})
    size = image_size if isinstance(image_size, int) else list(image_size)
    shapes = {"in_channel": channels * (1 + conditional), "out_channel": channels}
    return {**shapes, "image_size": size, **own}


def model(architecture: Mapping[str, Any], **shared: Any) -> Model:
    from cl_sr.models.model import Model
    from cl_sr.models.unet import SR3UNet

    net = SR3UNet(**architecture)
    return Model(net, architecture=net.config, **shared)


family = Family("sr3", SR3Keys, architecture, model)
