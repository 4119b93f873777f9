"""SR3's U-Net, parameter for parameter that of the public SR3 code.

Attribute names follow the keys of the public checkpoints (`denoise_fn.` stripped), so that their
weights load without a table of translations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cl_sr.image_size import sides
from cl_sr.models.sizes import check_sizes


class LevelEncoding(nn.Module):
    """Sinusoidal encoding of the continuous noise level `(B,)` to `(B, channels)`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, level: Tensor) -> Tensor:
        half = self.channels // 2
        ramp = torch.arange(half, dtype=level.dtype, device=level.device) / half
        angles = level[:, None] * torch.exp(-math.log(1e4) * ramp)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class LevelShift(nn.Module):
    """Adds a projection of the noise-level embedding to every pixel."""

    def __init__(self, embedding: int, channels: int) -> None:
        super().__init__()
        self.noise_func = nn.Sequential(nn.Linear(embedding, channels))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return x + self.noise_func(embedding)[:, :, None, None]


class Block(nn.Module):
    """Group norm, swish, dropout, 3x3 convolution."""

    def __init__(self, in_channels: int, out_channels: int, groups: int, dropout: float = 0.0):
        super().__init__()
        self.block = nn.Sequential(
            nn.GroupNorm(groups, in_channels),
            nn.SiLU(),
            nn.Dropout(dropout) if dropout else nn.Identity(),
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x)
        return out


class ResidualBlock(nn.Module):
    def __init__(
        self, in_channels: int, out_channels: int, embedding: int, groups: int, dropout: float
    ) -> None:
        super().__init__()
        self.noise_func = LevelShift(embedding, out_channels)
        self.block1 = Block(in_channels, out_channels, groups)
        self.block2 = Block(out_channels, out_channels, groups, dropout)
        self.res_conv = (
            nn.Conv2d(in_channels, out_channels, 1)
            if in_channels != out_channels
            else nn.Identity()
        )

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.noise_func(self.block1(x), embedding)
        out: Tensor = self.block2(h) + self.res_conv(x)
        return out


class SelfAttention(nn.Module):
    """One head over all pixels, scaled by the square root of the channels."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv2d(channels, channels * 3, 1, bias=False)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        pixels = self.qkv(self.norm(x)).reshape(b, 3, c, h * w).transpose(2, 3)
        mixed = F.scaled_dot_product_attention(*pixels.unbind(1))
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(b, c, h, w)) + x
        return out


class Level(nn.Module):
    """A residual block, with self-attention after it where the resolution asks for it."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding: int,
        groups: int,
        dropout: float,
        attention: bool,
    ) -> None:
        super().__init__()
        self.res_block = ResidualBlock(in_channels, out_channels, embedding, groups, dropout)
        self.attn = SelfAttention(out_channels, groups) if attention else None

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = self.res_block(x, embedding)
        return x if self.attn is None else self.attn(x)


class Downsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class Upsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
        return out


class SR3UNet(nn.Module):
    """The denoising network of SR3 (arXiv 2104.07636), as the public SR3 code builds it.

    Args:
        in_channel: 6 with a condition (condition and noisy image), 3 without; 2 and 1 for grey.
        out_channel: channels of the answer.
        inner_channel: channels at full resolution, even.
        norm_groups: of every group norm; must divide all channel counts.
        channel_mults: channels of each resolution, as multiples of `inner_channel`; the
            resolution halves between two entries.
        attn_res: resolutions (pixels of the shorter side) that get self-attention; the middle
            always has one.
        res_blocks: residual blocks a resolution.
        dropout: in [0, 1).
        image_size: H = W, or H and W, in pixels, which decides where `attn_res` falls; multiples
            of `2 ** (len(channel_mults) - 1)`.

    Attributes:
        config: these arguments.
        channels: of images.

    Raises:
        ValueError: sizes that do not divide.
    """

    def __init__(
        self,
        in_channel: int = 6,
        out_channel: int = 3,
        inner_channel: int = 64,
        norm_groups: int = 32,
        channel_mults: Sequence[int] = (1, 2, 4, 8, 8),
        attn_res: Sequence[int] = (16,),
        res_blocks: int = 2,
        dropout: float = 0.0,
        image_size: int | Sequence[int] = 128,
    ) -> None:
        super().__init__()
        check_sizes(inner_channel, channel_mults, norm_groups, image_size)
        self.config: dict[str, Any] = {
            "in_channel": in_channel,
            "out_channel": out_channel,
            "inner_channel": inner_channel,
            "norm_groups": norm_groups,
            "channel_mults": list(channel_mults),
            "attn_res": list(attn_res),
            "res_blocks": res_blocks,
            "dropout": dropout,
            "image_size": image_size if isinstance(image_size, int) else list(image_size),
        }
        self.channels = out_channel
        self.noise_level_mlp = nn.Sequential(
            LevelEncoding(inner_channel),
            nn.Linear(inner_channel, inner_channel * 4),
            nn.SiLU(),
            nn.Linear(inner_channel * 4, inner_channel),
        )

        def level(channels_in: int, channels_out: int, attention: bool) -> Level:
            return Level(channels_in, channels_out, inner_channel, norm_groups, dropout, attention)

        channels, resolution = inner_channel, min(sides(image_size))
        skips = [channels]
        downs: list[nn.Module] = [nn.Conv2d(in_channel, inner_channel, 3, padding=1)]
        for i, mult in enumerate(channel_mults):
            for _ in range(res_blocks):
                downs.append(level(channels, inner_channel * mult, resolution in attn_res))
                channels = inner_channel * mult
                skips.append(channels)
            if i < len(channel_mults) - 1:
                downs.append(Downsample(channels))
                skips.append(channels)
                resolution //= 2
        ups: list[nn.Module] = []
        mid = [level(channels, channels, True), level(channels, channels, False)]
        for i, mult in reversed(list(enumerate(channel_mults))):
            for _ in range(res_blocks + 1):
                ups.append(
                    level(channels + skips.pop(), inner_channel * mult, resolution in attn_res)
                )
                channels = inner_channel * mult
            if i > 0:
                ups.append(Upsample(channels))
                resolution *= 2
        self.downs = nn.ModuleList(downs)
        self.mid = nn.ModuleList(mid)
        self.ups = nn.ModuleList(ups)
        self.final_conv = Block(channels, out_channel, norm_groups)

    def forward(self, noisy: Tensor, condition: Tensor | None, level: Tensor) -> Tensor:
        """Answer for noisy images.

        Args:
            noisy: `(B, 3, H, W)`.
            condition: the upsampled low-resolution images, `(B, 3, H, W)` in [-1, 1], or None
                for an unconditional net.
            level: `sqrt(gamma)`, `(B,)` or `(B, 1)`.

        Returns:
            `(B, 3, H, W)`.
        """
        embedding = self.noise_level_mlp(level.flatten())
        x = noisy if condition is None else torch.cat([condition, noisy], dim=1)
        skips = []
        for layer in self.downs:
            x = layer(x, embedding) if isinstance(layer, Level) else layer(x)
            skips.append(x)
        for layer in self.mid:
            x = layer(x, embedding)
        for layer in self.ups:
            if isinstance(layer, Level):
                x = layer(torch.cat([x, skips.pop()], dim=1), embedding)
            else:
                x = layer(x)
        out: Tensor = self.final_conv(x)
        return out
