"""diffusers' format: SR3's U-Net as a `UNet2DModel`, and its noise schedule as a scheduler.

The two nets are the same but for two things. SR3's is told the noise level sqrt(gamma) and not the
time-step: the encodings of the T trained levels become a table, diffusers' `learned` embedding. And
diffusers has a swish before each projection of the embedding e, where SR3 has none: as
swish(x) - swish(-x) = x, it is given (e, -e), and the projection W becomes (W, -W).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cl_sr.errors import InputError
from cl_sr.export.source import Source
from cl_sr.image_size import sides
from cl_sr.models import Model, SR3UNet, read_model
from cl_sr.models.unet import Downsample, Level, Upsample

# diffusers' names of what a net is told to predict.
PREDICTIONS = {"epsilon": "epsilon", "v": "v_prediction", "x0": "sample"}


def write(folder: Path, source: Source) -> None:
    """`unet/` and `scheduler/`; of a prior, with the `model_index.json` of a `DDIMPipeline`.

    Raises:
        InputError: diffusers has no such model, or is not installed.
    """
    check(source)
    from diffusers import DDIMPipeline

    model = read_model(source.folder)
    unet, scheduler = to_diffusers(model)
    _compare(model, unet)
    if model.conditional:
        unet.save_pretrained(folder / "unet")
        scheduler.save_pretrained(folder / "scheduler")
    else:
        DDIMPipeline(unet, scheduler).save_pretrained(folder)


def check(source: Source) -> None:
    """Refuse what diffusers has no net for.

    Raises:
        InputError: with the reason.
    """
    about, why = source.about, ""
    if about.family != "sr3":
        why = f"of the family {about.family}: only SR3's U-Net is a UNet2DModel"
    elif about.architecture["channel_mults"][0] != 1:
        why = (
            f"a net with channel_mults={about.architecture['channel_mults']}, and a UNet2DModel's "
            "first convolution has the channels of its first block"
        )
    elif source.several:
        why = f"restoring with several nets ({source.composition.name}), and a pipeline has one"
    if why:
        raise InputError(
            f"--format diffusers is not for {source.folder}: it is {why}; leave --format out"
        )
    try:
        import diffusers  # noqa: F401
    except ImportError as error:
        raise InputError('--format diffusers needs it: pip install "cl-sr[diffusers]"') from error


def to_diffusers(model: Model) -> tuple[Any, Any]:
    """A `UNet2DModel` that answers as the net does at every trained time-step, and a scheduler.

    Its input is the condition beside the noisy image, `(B, 2 C, H, W)`; of a prior the noisy image
    alone. Time-step t of diffusers, from 0, is that of `schedule.gammas[t + 1]`.

    Args:
        model: of SR3's family, whose first level has the channels of its first convolution.
    """
    from diffusers import DDIMScheduler, UNet2DModel

    net, arguments = model.net, model.architecture
    assert isinstance(net, SR3UNet)
    mults = arguments["channel_mults"]
    shorter = min(sides(arguments["image_size"]))
    attentive = [shorter // 2**i in arguments["attn_res"] for i in range(len(mults))]
    unet = UNet2DModel(
        sample_size=arguments["image_size"],
        in_channels=arguments["in_channel"],
        out_channels=arguments["out_channel"],
        block_out_channels=tuple(arguments["inner_channel"] * mult for mult in mults),
        down_block_types=tuple("AttnDownBlock2D" if own else "DownBlock2D" for own in attentive),
        up_block_types=tuple("AttnUpBlock2D" if own else "UpBlock2D" for own in attentive[::-1]),
        layers_per_block=arguments["res_blocks"],
        attention_head_dim=None,  # one head
        norm_num_groups=arguments["norm_groups"],
        norm_eps=1e-5,
        dropout=arguments["dropout"],
        time_embedding_type="learned",
        num_train_timesteps=model.schedule.steps,
    )
    unet.load_state_dict(dict(_translated(net, model.schedule.gammas[1:].sqrt().float())))
    gammas = model.schedule.gammas
    image = model.parametrization.target == "image"
    scheduler = DDIMScheduler(
        num_train_timesteps=model.schedule.steps,
        trained_betas=(1 - gammas[1:] / gammas[:-1]).tolist(),
        prediction_type=PREDICTIONS[model.parametrization.prediction],
        clip_sample=image,  # a residual is not within [-1, 1]
        timestep_spacing="trailing",  # from pure noise, as ours
    )
    return unet.eval(), scheduler


def _translated(net: SR3UNet, levels: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The weights by diffusers' names."""
    mlp: Any = net.noise_level_mlp
    encoding, first, _, second = mlp
    yield "time_proj.weight", encoding(levels)
    yield from _named("time_embedding.linear_1", first)
    yield from _doubled("time_embedding.linear_2", second, len(first.weight))
    conv, *downs = net.downs
    yield from _named("conv_in", conv)
    level = block = 0
    for layer in downs:
        if isinstance(layer, Level):
            yield from _level(f"down_blocks.{level}", block, layer, len(first.weight))
            block += 1
        else:
            assert isinstance(layer, Downsample)
            yield from _named(f"down_blocks.{level}.downsamplers.0.conv", layer.conv)
            level, block = level + 1, 0
    for block, layer in enumerate(net.mid):
        assert isinstance(layer, Level)
        yield from _level("mid_block", block, layer, len(first.weight))
    level = block = 0
    for layer in net.ups:
        if isinstance(layer, Level):
            yield from _level(f"up_blocks.{level}", block, layer, len(first.weight))
            block += 1
        else:
            assert isinstance(layer, Upsample)
            yield from _named(f"up_blocks.{level}.upsamplers.0.conv", layer.conv)
            level, block = level + 1, 0
    yield from _named("conv_norm_out", net.final_conv.block[0])
    yield from _named("conv_out", net.final_conv.block[3])


def _level(place: str, block: int, level: Any, width: int) -> Iterator[tuple[str, Tensor]]:
    """A residual block, and its attention."""
    residual, name = level.res_block, f"{place}.resnets.{block}"
    yield from _named(f"{name}.norm1", residual.block1.block[0])
    yield from _named(f"{name}.conv1", residual.block1.block[3])
    yield from _named(f"{name}.norm2", residual.block2.block[0])
    yield from _named(f"{name}.conv2", residual.block2.block[3])
    if isinstance(residual.res_conv, nn.Conv2d):
        yield from _named(f"{name}.conv_shortcut", residual.res_conv)
    shift = residual.noise_func.noise_func[0]
    both = torch.cat([shift.weight, -shift.weight], dim=1)
    yield f"{name}.time_emb_proj.weight", _padded(both, width, dim=1)
    yield f"{name}.time_emb_proj.bias", shift.bias
    if level.attn is None:
        return
    name = f"{place}.attentions.{block}"
    yield from _named(f"{name}.group_norm", level.attn.norm)
    for kind, weight in zip("qkv", level.attn.qkv.weight.flatten(1).chunk(3), strict=True):
        yield f"{name}.to_{kind}.weight", weight
        yield f"{name}.to_{kind}.bias", torch.zeros(len(weight))
    yield f"{name}.to_out.0.weight", level.attn.out.weight.flatten(1)
    yield f"{name}.to_out.0.bias", level.attn.out.bias


def _named(place: str, layer: Any) -> Iterator[tuple[str, Tensor]]:
    yield f"{place}.weight", layer.weight
    yield f"{place}.bias", layer.bias


def _doubled(place: str, layer: Any, width: int) -> Iterator[tuple[str, Tensor]]:
    """A layer that answers (e, -e, 0, ...) where it answered e."""
    yield f"{place}.weight", _padded(torch.cat([layer.weight, -layer.weight]), width, dim=0)
    yield f"{place}.bias", _padded(torch.cat([layer.bias, -layer.bias]), width, dim=0)


def _padded(tensor: Tensor, length: int, dim: int) -> Tensor:
    """With zeros at the end of a dimension."""
    missing = list(tensor.shape)
    missing[dim] = length - missing[dim]
    return torch.cat([tensor, tensor.new_zeros(missing)], dim=dim)


@torch.no_grad()
def _compare(model: Model, unet: Any) -> None:
    """Refuse where diffusers, of whatever version, does not answer as the net does.

    Raises:
        InputError: it does not.
    """
    side, steps = 4 * model.multiple, model.schedule.steps
    random, channels = torch.Generator().manual_seed(0), model.architecture["out_channel"]
    noisy, condition = (torch.randn(2, channels, side, side, generator=random) for _ in range(2))
    t = torch.tensor([0, steps - 1])
    level = model.schedule.gammas[t + 1].sqrt().float()
    shown = condition if model.conditional else None
    expected = model.net(noisy, shown, level)
    found = unet(noisy if shown is None else torch.cat([condition, noisy], dim=1), t).sample
    if not torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max())):
        raise InputError(
            "diffusers does not answer as the net does "
            f"(by {float((found - expected).abs().max()):.2g}): another version of it may"
        )
