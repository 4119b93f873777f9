"""Architectures told from the shapes of weights alone."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cl_sr.models import SR3UNet
from cl_sr.models.architecture import ddpm_arguments, guided_arguments, sr3_arguments
from cl_sr.models.ddpm import DDPMUNet
from cl_sr.models.guided import GuidedUNet


@settings(max_examples=25, deadline=None)
@given(
    in_channel=st.sampled_from([3, 6]),
    inner=st.sampled_from([8, 16, 24]),
    mults=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    attention=st.sets(st.integers(0, 3)),
    blocks=st.integers(1, 3),
)
def test_any_sr3_is_recognized(
    in_channel: int, inner: int, mults: list[int], attention: set[int], blocks: int
) -> None:
    config = {
        "in_channel": in_channel,
        "out_channel": 3,
        "inner_channel": inner,
        "norm_groups": 8,
        "channel_mults": mults,
        "attn_res": [64 // 2**k for k in sorted(attention) if k < len(mults)],
        "res_blocks": blocks,
        "image_size": 64,
    }
    with torch.device("meta"):
        net = SR3UNet(**config)
    assert sr3_arguments(net.state_dict(), 64) | {"norm_groups": 8} == config


@settings(max_examples=25, deadline=None)
@given(
    channels=st.sampled_from([32, 64]),
    mults=st.lists(st.sampled_from([0.5, 1, 2]), min_size=2, max_size=4),
    attention=st.sets(st.integers(0, 3)),
    blocks=st.integers(1, 3),
    flags=st.tuples(*[st.booleans()] * 3),
)
def test_any_guided_net_is_recognized(
    channels: int, mults: list[float], attention: set[int], blocks: int, flags: tuple[bool, ...]
) -> None:
    scale_shift, updown, learned = flags
    config: dict[str, Any] = {
        "model_channels": 2 * channels,
        "channel_mult": mults,
        "num_res_blocks": blocks,
        "attention_resolutions": [2**k for k in sorted(attention) if k < len(mults)],
        "use_scale_shift_norm": scale_shift,
        "resblock_updown": updown,
        "out_channels": 6 if learned else 3,
    }
    with torch.device("meta"):
        net = GuidedUNet(**config, num_head_channels=32)
        found = guided_arguments(net.state_dict())
    assert {key: found[key] for key in config} == config


@settings(max_examples=25, deadline=None)
@given(
    mults=st.lists(st.integers(1, 3), min_size=2, max_size=4),
    attention=st.sets(st.integers(0, 3)),
    blocks=st.integers(1, 3),
    convolve=st.booleans(),
)
def test_any_ddpm_net_is_recognized(
    mults: list[int], attention: set[int], blocks: int, convolve: bool
) -> None:
    config = {
        "image_size": 64,
        "ch": 32,
        "ch_mult": mults,
        "num_res_blocks": blocks,
        "attn_resolutions": [64 // 2**k for k in sorted(attention) if k < len(mults)],
        "resamp_with_conv": convolve,
    }
    with torch.device("meta"):
        net = DDPMUNet(**config)  # type: ignore[arg-type]
    found = ddpm_arguments(net.state_dict(), 64)
    assert {key: found[key] for key in config} == config


def test_widths_that_are_no_round_multiple() -> None:
    """480 / 352 * 352 is below 480 in floating point."""
    with torch.device("meta"):
        net = GuidedUNet(
            model_channels=352, channel_mult=(480 / 352, 1), num_res_blocks=1,
            attention_resolutions=(), num_head_channels=32,
        )  # fmt: skip
        found = guided_arguments(net.state_dict())
        again = GuidedUNet(**found | {"num_head_channels": 32})
    assert len(net.input_blocks[1][0].out_layers[3].bias) == 480  # type: ignore[index]
    shapes = [{k: v.shape for k, v in n.state_dict().items()} for n in (net, again)]
    assert shapes[0] == shapes[1]
