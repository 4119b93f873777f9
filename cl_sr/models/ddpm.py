"""The U-Net of the DDPM CelebA-HQ checkpoints (SDEdit's PyTorch port), parameter for parameter."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-6)


class TimeEmbedding(nn.Module):
    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.dense = nn.ModuleList(
            [nn.Linear(channels, embedding), nn.Linear(embedding, embedding)]
        )

    def forward(self, encoded: Tensor) -> Tensor:
        out: Tensor = self.dense[1](F.silu(self.dense[0](encoded)))
        return out


class ResnetBlock(nn.Module):
    def __init__(self, channels: int, out_channels: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = _norm(channels)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.temb_proj = nn.Linear(embedding, out_channels)
        self.norm2 = _norm(out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.nin_shortcut = (
            nn.Conv2d(channels, out_channels, 1) if channels != out_channels else nn.Identity()
        )

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.temb_proj(F.silu(embedding))[:, :, None, None]
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        out: Tensor = self.nin_shortcut(x) + h
        return out


class AttnBlock(nn.Module):
    """One head over all pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (
            layer(h).flatten(2).transpose(1, 2)[:, None] for layer in (self.q, self.k, self.v)
        )
        mixed = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2).reshape(x.shape)
        out: Tensor = x + self.proj_out(mixed)
        return out


class Downsample(nn.Module):
    def __init__(self, channels: int, convolve: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2) if convolve else None

    def forward(self, x: Tensor) -> Tensor:
        if self.conv is None:
            return F.avg_pool2d(x, 2)
        out: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))  # TensorFlow's "same" padding
        return out


class Upsample(nn.Module):
    def __init__(self, channels: int, convolve: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1) if convolve else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
        return out


class Level(nn.Module):
    """The blocks of one resolution, and the way to the next one."""

    def __init__(
        self,
        blocks: list[ResnetBlock],
        attention: bool,
        downsample: Downsample | None = None,
        upsample: Upsample | None = None,
    ) -> None:
        super().__init__()
        self.block = nn.ModuleList(blocks)
        width = blocks[0].conv1.out_channels
        self.attn = nn.ModuleList([AttnBlock(width) for _ in blocks] if attention else [])
        self.downsample = downsample
        self.upsample = upsample

    def run(self, i: int, h: Tensor, embedding: Tensor) -> Tensor:
        """The i-th block, with the attention after it where there is one."""
        h = self.block[i](h, embedding)
        return self.attn[i](h) if len(self.attn) else h


class DDPMUNet(nn.Module):
    """The network of Ho et al. (arXiv 2006.11239) in the layout of the public PyTorch ports.

    Args:
        image_size: H = W in pixels, which decides where `attn_resolutions` falls.
        ch: channels at full resolution.
        ch_mult: channels of each resolution, as multiples of `ch`.
        num_res_blocks: residual blocks a resolution.
        attn_resolutions: resolutions (pixels) that get self-attention.
        in_channels, out_ch: 3.
        dropout: in the residual blocks.
        resamp_with_conv: resolutions change by convolutions, not by pooling and repeating alone.
    """

    def __init__(
        self,
        image_size: int = 256,
        ch: int = 128,
        ch_mult: Sequence[float] = (1, 1, 2, 2, 4, 4),
        num_res_blocks: int = 2,
        attn_resolutions: Sequence[int] = (16,),
        in_channels: int = 3,
        out_ch: int = 3,
        dropout: float = 0.0,
        resamp_with_conv: bool = True,
    ) -> None:
        super().__init__()
        self.ch = ch
        embedding = 4 * ch
        self.temb = TimeEmbedding(ch, embedding)
        self.conv_in = nn.Conv2d(in_channels, ch, 3, padding=1)
        widths = [int(round(mult * ch, 6)) for mult in ch_mult]
        channels, resolution = ch, image_size
        skips = [ch]
        self.down = nn.ModuleList()
        for i, width in enumerate(widths):
            blocks = []
            for _ in range(num_res_blocks):
                blocks.append(ResnetBlock(channels, width, embedding, dropout))
                channels = width
                skips.append(channels)
            last = i == len(widths) - 1
            resample = None if last else Downsample(channels, resamp_with_conv)
            self.down.append(Level(blocks, resolution in attn_resolutions, downsample=resample))
            if not last:
                skips.append(channels)
                resolution //= 2
        self.mid = nn.ModuleDict(
            {
                "block_1": ResnetBlock(channels, channels, embedding, dropout),
                "attn_1": AttnBlock(channels),
                "block_2": ResnetBlock(channels, channels, embedding, dropout),
            }
        )
        ups = []
        for i, width in reversed(list(enumerate(widths))):
            blocks = []
            for _ in range(num_res_blocks + 1):
                blocks.append(ResnetBlock(channels + skips.pop(), width, embedding, dropout))
                channels = width
            double = Upsample(channels, resamp_with_conv) if i else None
            ups.append(Level(blocks, resolution in attn_resolutions, upsample=double))
            resolution *= 2
        self.up = nn.ModuleList(reversed(ups))
        self.norm_out = _norm(channels)
        self.conv_out = nn.Conv2d(channels, out_ch, 3, padding=1)

    def forward(self, noisy: Tensor, timestep: Tensor) -> Tensor:
        """The noise of images `(B, 3, H, W)` at time-steps `(B,)`, counted from 0."""
        half = self.ch // 2
        ramp = torch.arange(half, dtype=torch.float32, device=noisy.device) / (half - 1)
        angles = timestep.float()[:, None] * torch.exp(-math.log(1e4) * ramp)
        embedding = torch.cat([angles.sin(), angles.cos()], dim=-1)
        embedding = self.temb(embedding)
        h = self.conv_in(noisy)
        skips = [h]
        part: Level
        for part in self.down:  # type: ignore[assignment]
            for i in range(len(part.block)):
                h = part.run(i, h, embedding)
                skips.append(h)
            if part.downsample is not None:
                h = part.downsample(h)
                skips.append(h)
        h = self.mid["block_1"](h, embedding)
        h = self.mid["block_2"](self.mid["attn_1"](h), embedding)
        for part in reversed(self.up):  # type: ignore[assignment]
            for i in range(len(part.block)):
                h = part.run(i, torch.cat([h, skips.pop()], dim=1), embedding)
            if part.upsample is not None:
                h = part.upsample(h)
        out: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return out
