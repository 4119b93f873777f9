"""From the shapes of a checkpoint's tensors to the arguments of its network.

Each size is what most of the tensors that show it say, so that one that is missing or misshapen
does not spoil the rest, and is named when the network is built. What leaves no trace in the shapes
(group sizes, heads, dropout, the image size) gets the value that the published checkpoints have;
each function says which.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from cl_sr.image_size import sides
from cl_sr.models.weights import State


def sr3_arguments(state: State, image_size: int | Sequence[int] | None = None) -> dict[str, Any]:
    """Arguments of `SR3UNet`.

    Not in the shapes: `image_size` (128, or 512 for the published 64 to 512 network),
    `norm_groups` (32, or 16 for that network; a divisor of all channel counts) and `dropout` (0).

    Raises:
        ValueError: tensors that no such network has.
    """
    inner = _size(state, "downs.0.weight", "downs.0.bias", "noise_level_mlp.3.bias")
    levels: list[list[int]] = [[]]
    attentive = set()
    for i in range(1, _count(state, "downs")):
        block = f"downs.{i}.res_block."
        if not _any(state, block):
            levels.append([])
            continue
        shows = ("block1.block.3.weight", "block1.block.3.bias", "block2.block.0.weight",
                 "block2.block.3.bias")  # fmt: skip
        levels[-1].append(_size(state, *(block + name for name in shows)))
        if _any(state, f"downs.{i}.attn."):
            attentive.add(len(levels) - 1)
    mults = [widths[0] // inner for widths in levels if widths]
    published = inner == 64 and mults == [1, 2, 4, 8, 16]
    size = image_size or math.lcm(512 if published else 128, 2 ** (len(levels) - 1))
    shared = math.gcd(inner, *(inner * mult for mult in mults))
    return {
        "in_channel": _inputs(state, "downs.0.weight", 6),
        "out_channel": _size(state, "final_conv.block.3.weight", "final_conv.block.3.bias"),
        "inner_channel": inner,
        "norm_groups": _largest_divisor(shared, 16 if published else 32),
        "channel_mults": mults,
        "attn_res": [min(sides(size)) // 2**level for level in sorted(attentive)],
        "res_blocks": len(levels[0]),
        "image_size": size,
    }


def guided_arguments(state: State) -> dict[str, Any]:
    """Arguments of `GuidedUNet`.

    Not in the shapes: the heads (64 channels each where resolutions change in residual blocks, as
    in the published ImageNet and LSUN checkpoints; else 4 heads), `use_new_attention_order`
    (False) and `dropout` (0).

    Raises:
        ValueError: tensors that no such network has.
    """
    embedding = _size(state, "time_embed.0.weight", "time_embed.0.bias", "time_embed.2.bias")
    model_channels = embedding // 4
    # A level's last block on the way up ends with what doubles the resolution.
    ups = {
        match[1]: match[2] != "conv"
        for name in state
        if (match := re.match(r"(output_blocks\.\d+\.[12])\.(in|emb|out|conv)(_layers)?\.", name))
    }
    levels = 1 + len(ups)
    blocks = _count(state, "input_blocks") // levels - 1
    widths, attention, scale_shift = [], [], Counter[bool]()
    for level in range(levels):
        first = f"input_blocks.{1 + level * (blocks + 1)}"
        shows = ("in_layers.2.bias", "out_layers.0.weight", "out_layers.3.weight",
                 "out_layers.3.bias")  # fmt: skip
        widths.append(_size(state, *(f"{first}.0.{name}" for name in shows)))
        if _any(state, f"{first}.1."):
            attention.append(2**level)
        for name in ("weight", "bias"):
            if f"{first}.0.emb_layers.1.{name}" in state:
                tensor = state[f"{first}.0.emb_layers.1.{name}"]
                scale_shift[len(tensor) == 2 * widths[-1]] += 1
    attentive = [t.shape[1] for name, t in state.items() if name.endswith(".qkv.weight")]
    by_channels = all(width % 64 == 0 for width in attentive) and (any(ups.values()) or not ups)
    return {
        "in_channels": _inputs(state, "input_blocks.0.0.weight", 3),
        "out_channels": _size(state, "out.2.weight", "out.2.bias"),
        "model_channels": model_channels,
        "num_res_blocks": blocks,
        "attention_resolutions": attention,
        "channel_mult": [width / model_channels for width in widths],
        "num_head_channels": 64 if by_channels else -1,
        "num_heads": 4,
        "use_scale_shift_norm": scale_shift[True] > scale_shift[False],
        "resblock_updown": any(ups.values()),
    }


def ddpm_arguments(state: State, image_size: int | None = None) -> dict[str, Any]:
    """Arguments of `DDPMUNet`.

    Not in the shapes: `image_size` (256; it matters to nothing but the arguments' meaning) and
    `dropout` (0).

    Raises:
        ValueError: tensors that no such network has.
    """
    levels = _count(state, "down")
    size = image_size or math.lcm(256, 2 ** max(levels - 1, 0))
    channels = _size(state, "conv_in.weight", "conv_in.bias", "down.0.block.0.norm1.weight")
    shows = ("conv1.weight", "conv1.bias", "norm2.weight", "conv2.bias")
    widths = [_size(state, *(f"down.{i}.block.0.{name}" for name in shows)) for i in range(levels)]
    return {
        "image_size": size,
        "ch": channels,
        "ch_mult": [width / channels for width in widths],
        "num_res_blocks": _count(state, "down.0.block"),
        "attn_resolutions": [size // 2**i for i in range(levels) if _any(state, f"down.{i}.attn.")],
        "in_channels": _inputs(state, "conv_in.weight", 3),
        "out_ch": _size(state, "conv_out.weight", "conv_out.bias"),
        "resamp_with_conv": levels == 1 or any(".downsample." in name for name in state),
    }


def _size(state: State, *names: str) -> int:
    """The first dimension that most of these tensors have."""
    found = Counter(len(state[name]) for name in names if name in state and state[name].ndim)
    if not found:
        raise ValueError(f"there is no {names[0]}")
    return found.most_common(1)[0][0]


def _inputs(state: State, name: str, usual: int) -> int:
    """The input channels of a convolution."""
    return state[name].shape[1] if name in state and state[name].ndim == 4 else usual


def _any(state: State, prefix: str) -> bool:
    return any(name.startswith(prefix) for name in state)


def _count(state: State, prefix: str) -> int:
    """How many entries a list of modules has."""
    found = [re.match(rf"{re.escape(prefix)}\.(\d+)\.", name) for name in state]
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def _largest_divisor(number: int, most: int) -> int:
    return max(d for d in range(1, most + 1) if number % d == 0)
