"""The U-Net of OpenAI's guided-diffusion, parameter for parameter.

Attribute names follow the keys of its checkpoints, so that their weights load without a table of
translations. Only what unconditional checkpoints use is here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cl_sr.models.unet import Upsample

GROUPS = 32


class ResBlock(nn.Module):
    """Residual block; `resample` halves (`down`) or doubles (`up`) the resolution inside it."""

    def __init__(
        self,
        channels: int,
        out_channels: int,
        embedding: int,
        dropout: float,
        scale_shift: bool,
        resample: str = "",
    ) -> None:
        super().__init__()
        self.scale_shift = scale_shift
        self.resample = resample
        self.in_layers = nn.Sequential(
            nn.GroupNorm(GROUPS, channels),
            nn.SiLU(),
            nn.Conv2d(channels, out_channels, 3, padding=1),
        )
        self.emb_layers = nn.Sequential(
            nn.SiLU(), nn.Linear(embedding, (2 if scale_shift else 1) * out_channels)
        )
        self.out_layers = nn.Sequential(
            nn.GroupNorm(GROUPS, out_channels),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )
        self.skip_connection = (
            nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)
        )

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.in_layers[1](self.in_layers[0](x))
        h, x = _resample(h, self.resample), _resample(x, self.resample)
        h = self.in_layers[2](h)
        shift = self.emb_layers(embedding)[:, :, None, None]
        if self.scale_shift:
            scale, shift = shift.chunk(2, dim=1)
            h = self.out_layers[0](h) * (1 + scale) + shift
            h = self.out_layers[1:](h)
        else:
            h = self.out_layers(h + shift)
        out: Tensor = self.skip_connection(x) + h
        return out


def _resample(x: Tensor, how: str) -> Tensor:
    if how == "down":
        return F.avg_pool2d(x, 2)
    return F.interpolate(x, scale_factor=2, mode="nearest") if how == "up" else x


class Attention(nn.Module):
    """Self-attention over all pixels; `new_order` splits queries, keys, values before heads."""

    def __init__(self, channels: int, heads: int, new_order: bool) -> None:
        super().__init__()
        self.heads = heads
        self.new_order = new_order
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.qkv = nn.Conv1d(channels, channels * 3, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        qkv = self.qkv(self.norm(flat))
        if self.new_order:
            parts = qkv.unflatten(1, (3, self.heads, -1)).unbind(1)
        else:
            parts = qkv.unflatten(1, (self.heads, 3, -1)).unbind(2)
        q, k, v = (part.transpose(-1, -2) for part in parts)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2).flatten(1, 2)
        return (flat + self.proj_out(mixed)).reshape(x.shape)


class Downsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.op(x)
        return out


class Stage(nn.Sequential):
    """Layers in a row, of which residual blocks also see the time embedding."""

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:  # type: ignore[override]
        for layer in self:
            x = layer(x, embedding) if isinstance(layer, ResBlock) else layer(x)
        return x


class GuidedUNet(nn.Module):
    """The unconditional network of guided-diffusion (arXiv 2105.05233).

    Args:
        in_channels: of the noisy image.
        out_channels: 6 where the net also learns the variance, else 3.
        model_channels: channels at full resolution.
        num_res_blocks: residual blocks a resolution.
        attention_resolutions: downsampling factors (not pixels) that get self-attention.
        channel_mult: channels of each resolution, as multiples of `model_channels`.
        num_head_channels: channels of each attention head; -1: use `num_heads`.
        num_heads: attention heads, where `num_head_channels` is -1.
        num_heads_upsample: the same on the way up; -1: `num_heads`.
        use_scale_shift_norm: the time embedding scales and shifts, instead of shifting alone.
        resblock_updown: resample in residual blocks, instead of by convolutions.
        use_new_attention_order: queries, keys and values are split before the heads.
        dropout: in the residual blocks.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 6,
        model_channels: int = 256,
        num_res_blocks: int = 2,
        attention_resolutions: Sequence[int] = (8, 16, 32),
        channel_mult: Sequence[float] = (1, 1, 2, 2, 4, 4),
        num_head_channels: int = 64,
        num_heads: int = 4,
        num_heads_upsample: int = -1,
        use_scale_shift_norm: bool = True,
        resblock_updown: bool = True,
        use_new_attention_order: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.model_channels = model_channels
        embedding = 4 * model_channels
        self.time_embed = nn.Sequential(
            nn.Linear(model_channels, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )

        def res(channels: int, out: int, resample: str = "") -> ResBlock:
            return ResBlock(channels, out, embedding, dropout, use_scale_shift_norm, resample)

        def attention(channels: int, heads: int = num_heads) -> Attention:
            heads = heads if num_head_channels == -1 else channels // num_head_channels
            if heads < 1 or channels % heads:
                raise ValueError(f"{channels} channels cannot be split into {heads} heads")
            return Attention(channels, heads, use_new_attention_order)

        widths = [int(round(mult * model_channels, 6)) for mult in channel_mult]
        channels, factor = widths[0], 1
        skips = [channels]
        inputs = [Stage(nn.Conv2d(in_channels, channels, 3, padding=1))]
        for level, width in enumerate(widths):
            for _ in range(num_res_blocks):
                layers: list[nn.Module] = [res(channels, width)]
                channels = width
                if factor in attention_resolutions:
                    layers.append(attention(channels))
                inputs.append(Stage(*layers))
                skips.append(channels)
            if level < len(widths) - 1:
                down = res(channels, channels, "down") if resblock_updown else Downsample(channels)
                inputs.append(Stage(down))
                skips.append(channels)
                factor *= 2
        self.input_blocks = nn.ModuleList(inputs)
        self.middle_block = Stage(
            res(channels, channels), attention(channels), res(channels, channels)
        )
        outputs = []
        for level, width in reversed(list(enumerate(widths))):
            for i in range(num_res_blocks + 1):
                layers = [res(channels + skips.pop(), width)]
                channels = width
                if factor in attention_resolutions:
                    heads = num_heads if num_heads_upsample == -1 else num_heads_upsample
                    layers.append(attention(channels, heads))
                if level and i == num_res_blocks:
                    up = res(channels, channels, "up") if resblock_updown else Upsample(channels)
                    layers.append(up)
                    factor //= 2
                outputs.append(Stage(*layers))
        self.output_blocks = nn.ModuleList(outputs)
        self.out = nn.Sequential(
            nn.GroupNorm(GROUPS, channels),
            nn.SiLU(),
            nn.Conv2d(channels, out_channels, 3, padding=1),
        )

    def forward(self, noisy: Tensor, timestep: Tensor) -> Tensor:
        """Noise (and the variance, where it is learnt) of images `(B, 3, H, W)` at steps `(B,)`."""
        half = self.model_channels // 2
        ramp = torch.arange(half, dtype=torch.float32, device=noisy.device) / half
        angles = timestep.float()[:, None] * torch.exp(-math.log(1e4) * ramp)
        embedding = self.time_embed(torch.cat([angles.cos(), angles.sin()], dim=-1))
        h, skips = noisy, []
        for block in self.input_blocks:
            h = block(h, embedding)
            skips.append(h)
        h = self.middle_block(h, embedding)
        for block in self.output_blocks:
            h = block(torch.cat([h, skips.pop()], dim=1), embedding)
        out: Tensor = self.out(h)
        return out
