"""From the shapes of a checkpoint's tensors to the arguments of its network.

What leaves no trace in the shapes (group sizes, heads, dropout, the image size) gets the value that
the published checkpoints have; each function says which.
"""

from __future__ import annotations

import math
import re
from typing import Any

from cl_sr.models.weights import State


def sr3_arguments(state: State, image_size: int | None = None) -> dict[str, Any]:
    """Arguments of `SR3UNet`.

    Not in the shapes: `image_size` (128, or 512 for the published 64 to 512 network),
    `norm_groups` (32, or 16 for that network; a divisor of all channel counts) and `dropout` (0).

    Raises:
        KeyError: keys that no such network lacks.
    """
    levels: list[list[int]] = [[]]
    attentive = set()
    for i in range(1, _count(state, "downs")):
        block = state.get(f"downs.{i}.res_block.block1.block.3.weight")
        if block is None:
            levels.append([])
            continue
        levels[-1].append(len(block))
        if f"downs.{i}.attn.qkv.weight" in state:
            attentive.add(len(levels) - 1)
    inner = len(state["downs.0.weight"])
    mults = [widths[0] // inner for widths in levels if widths]
    published = inner == 64 and mults == [1, 2, 4, 8, 16]
    size = image_size or math.lcm(512 if published else 128, 2 ** (len(levels) - 1))
    shared = math.gcd(*(inner * mult for mult in mults))
    return {
        "in_channel": state["downs.0.weight"].shape[1],
        "out_channel": len(state["final_conv.block.3.weight"]),
        "inner_channel": inner,
        "norm_groups": _largest_divisor(shared, 16 if published else 32),
        "channel_mults": mults,
        "attn_res": [size // 2**level for level in sorted(attentive)],
        "res_blocks": len(levels[0]),
        "image_size": size,
    }


def guided_arguments(state: State) -> dict[str, Any]:
    """Arguments of `GuidedUNet`.

    Not in the shapes: the heads (64 channels each where resolutions change in residual blocks, as
    in the published ImageNet and LSUN checkpoints; else 4 heads), `use_new_attention_order`
    (False) and `dropout` (0).

    Raises:
        KeyError: keys that no such network lacks.
    """
    model_channels = state["time_embed.0.weight"].shape[1]
    # Only the last layer of a level's last block has an index above 0 without being attention.
    ups = {
        re.sub(r"\.(in_layers|conv)\..*", "", name): "in_layers" in name
        for name in state
        if re.match(r"output_blocks\.\d+\.[12]\.(in_layers|conv)\.", name)
    }
    levels = 1 + len(ups)
    blocks = _count(state, "input_blocks") // levels - 1
    widths, attention = [], []
    for level in range(levels):
        first = f"input_blocks.{1 + level * (blocks + 1)}"
        widths.append(len(state[f"{first}.0.out_layers.3.weight"]))
        if f"{first}.1.qkv.weight" in state:
            attention.append(2**level)
    scale_shift = len(state["input_blocks.1.0.emb_layers.1.weight"]) == 2 * widths[0]
    attentive = [width for name, width in _attention_widths(state)]
    by_channels = all(width % 64 == 0 for width in attentive) and (any(ups.values()) or not ups)
    return {
        "in_channels": state["input_blocks.0.0.weight"].shape[1],
        "out_channels": len(state["out.2.weight"]),
        "model_channels": model_channels,
        "num_res_blocks": blocks,
        "attention_resolutions": attention,
        "channel_mult": [width / model_channels for width in widths],
        "num_head_channels": 64 if by_channels else -1,
        "num_heads": 4,
        "use_scale_shift_norm": scale_shift,
        "resblock_updown": any(ups.values()),
    }


def _attention_widths(state: State) -> list[tuple[str, int]]:
    return [(name, t.shape[1]) for name, t in state.items() if name.endswith(".qkv.weight")]


def ddpm_arguments(state: State, image_size: int | None = None) -> dict[str, Any]:
    """Arguments of `DDPMUNet`.

    Not in the shapes: `image_size` (256; it matters to nothing but the arguments' meaning) and
    `dropout` (0).

    Raises:
        KeyError: keys that no such network lacks.
    """
    levels = _count(state, "down")
    size = image_size or math.lcm(256, 2 ** (levels - 1))
    channels = len(state["conv_in.weight"])
    widths = [len(state[f"down.{i}.block.0.conv1.weight"]) for i in range(levels)]
    return {
        "image_size": size,
        "ch": channels,
        "ch_mult": [width / channels for width in widths],
        "num_res_blocks": _count(state, "down.0.block"),
        "attn_resolutions": [
            size // 2**i for i in range(levels) if f"down.{i}.attn.0.q.weight" in state
        ],
        "in_channels": state["conv_in.weight"].shape[1],
        "out_ch": len(state["conv_out.weight"]),
        "resamp_with_conv": levels == 1 or "down.0.downsample.conv.weight" in state,
    }


def _count(state: State, prefix: str) -> int:
    """How many entries a list of modules has."""
    found = [re.match(rf"{re.escape(prefix)}\.(\d+)\.", name) for name in state]
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def _largest_divisor(number: int, most: int) -> int:
    return max(d for d in range(1, most + 1) if number % d == 0)
