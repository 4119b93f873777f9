"""Weights of other people's kinds, of many architectures, and files that are none."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cl_sr.diffusion import NoiseSchedule, Parametrization
from cl_sr.errors import InputError
from cl_sr.models import Prior, SR3UNet, load_prior, load_sr3, save_sr3
from cl_sr.models.architecture import ddpm_arguments, guided_arguments, sr3_arguments
from cl_sr.models.checkpoint import public_buffers
from cl_sr.models.ddpm import DDPMUNet
from cl_sr.models.guided import GuidedUNet

SMALL = {"inner_channel": 8, "norm_groups": 4, "channel_mults": [1, 2], "res_blocks": 1}


def public_sr3(net: SR3UNet, schedule: NoiseSchedule) -> dict[str, Tensor]:
    """The file that the public SR3 code would save."""
    state = {f"denoise_fn.{name}": tensor for name, tensor in net.state_dict().items()}
    return state | {name: t.float() for name, t in public_buffers(schedule).items()}


def noise_of(model: Any, size: int, timestep: int = 3) -> Tensor:
    x = torch.linspace(-1, 1, 3 * size * size).reshape(1, 3, size, size)
    with torch.no_grad():
        answer: Tensor = model(x, torch.tensor([timestep]))
    return answer


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


def test_public_sr3_weights_and_schedule(tmp_path: Path) -> None:
    net, schedule = SR3UNet(**SMALL, attn_res=[32], image_size=64), NoiseSchedule.linear(50)
    torch.save(public_sr3(net, schedule), tmp_path / "I100_gen.pth")
    loaded = load_sr3(tmp_path / "I100_gen.pth", image_size=64, norm_groups=4)
    assert loaded.config == net.config
    assert loaded.schedule is not None
    assert torch.allclose(loaded.schedule.gammas, schedule.gammas)
    x, level = torch.randn(2, 3, 64, 64), torch.tensor([0.3, 0.9])
    assert torch.equal(loaded(x, x, level), net(x, x, level))


def test_without_buffers_or_prefix_a_state_dict_is_read_too(tmp_path: Path) -> None:
    net = SR3UNet(**SMALL)
    torch.save({"state_dict": {f"module.{k}": v for k, v in net.state_dict().items()}},
               tmp_path / "w.pth", _use_new_zipfile_serialization=False)  # fmt: skip
    loaded = load_sr3(tmp_path / "w.pth", norm_groups=4)
    assert loaded.schedule is None
    assert all(
        torch.equal(a, b) for a, b in zip(loaded.parameters(), net.parameters(), strict=True)
    )


def test_half_precision_weights_become_float32(tmp_path: Path) -> None:
    torch.save(SR3UNet(**SMALL).half().state_dict(), tmp_path / "w.pth")
    assert {p.dtype for p in load_sr3(tmp_path / "w.pth").parameters()} == {torch.float32}


def test_weights_stay_where_the_file_is_mapped(tmp_path: Path) -> None:
    """A checkpoint of gigabytes is neither copied nor read before it is used."""
    torch.save(SR3UNet(**SMALL).state_dict(), tmp_path / "w.pth")
    net = load_sr3(tmp_path / "w.pth")
    maps = [
        tuple(int(part, 16) for part in line.split()[0].split("-"))
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith("w.pth")
    ]
    assert maps
    assert all(any(a <= p.data_ptr() < b for a, b in maps) for p in net.parameters())


@pytest.mark.parametrize("heads", [{"num_head_channels": 32}, {"num_heads": 1}])
def test_a_guided_prior(tmp_path: Path, heads: dict[str, int]) -> None:
    net = GuidedUNet(
        model_channels=32, channel_mult=(1, 2), num_res_blocks=1, attention_resolutions=(2,),
        **({"num_head_channels": -1} | heads),
    )  # fmt: skip
    nn.init.normal_(net.out[2].weight, std=0.1)
    torch.save(net.state_dict(), tmp_path / "prior.pt")
    prior = load_prior(tmp_path / "prior.pt", **heads)
    assert torch.equal(noise_of(prior, 8), noise_of(net.eval(), 8)[:, :3])
    assert prior.schedule.steps == 1000
    assert prior.multiple == 2


def test_a_prior_answers_one_number_for_all_images(tmp_path: Path) -> None:
    torch.save(DDPMUNet(32, 32, (1, 1), 1, ()).state_dict(), tmp_path / "prior.ckpt")
    prior = load_prior(tmp_path / "prior.ckpt")
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(prior(x, 7), prior(x, torch.tensor([7, 7])))
    with pytest.raises(ValueError, match="multiples of 2, not 9x8"):
        prior(torch.randn(1, 3, 9, 8), 7)


def test_an_unconditional_sr3_is_told_the_level_of_its_time_step(tmp_path: Path) -> None:
    net = SR3UNet(in_channel=3, **SMALL).eval()
    schedule = NoiseSchedule.linear(20, 1e-3, 0.2)
    torch.save(public_sr3(net, schedule), tmp_path / "I1_gen.pth")
    save_sr3(tmp_path / "own", net, Parametrization("v"), schedule)
    x = torch.linspace(-1, 1, 192).reshape(1, 3, 8, 8)
    level = schedule.gammas[4:5].sqrt().float()
    with torch.no_grad():
        output = net(x, None, level)
    public = load_prior(tmp_path / "I1_gen.pth", norm_groups=4)
    own = load_prior(tmp_path / "own")
    assert torch.allclose(noise_of(public, 8), output, atol=1e-6)
    velocity = level * output + (1 - level**2).sqrt() * x
    assert torch.allclose(noise_of(own, 8), velocity, atol=1e-6)
    assert torch.equal(public.schedule.gammas, own.schedule.gammas) or torch.allclose(
        public.schedule.gammas, own.schedule.gammas
    )


def diffusers_unet() -> Any:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    return diffusers.UNet2DModel(
        sample_size=8, block_out_channels=(32, 32), layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"), attention_head_dim=8,
    )  # fmt: skip


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_diffusers_folder(tmp_path: Path, prediction: str) -> None:
    import diffusers

    net = diffusers_unet()
    scheduler = diffusers.DDPMScheduler(
        200, beta_schedule="squaredcos_cap_v2", prediction_type=prediction
    )
    diffusers.DDPMPipeline(net, scheduler).save_pretrained(tmp_path / "pipe")
    prior = load_prior(tmp_path / "pipe")
    assert torch.allclose(prior.schedule.gammas[1:].float(), scheduler.alphas_cumprod, atol=1e-6)
    x = torch.linspace(-1, 1, 192).reshape(1, 3, 8, 8)
    with torch.no_grad():
        output = net(x, 3).sample
    gamma = scheduler.alphas_cumprod[3]
    expected = output if prediction == "epsilon" else gamma.sqrt() * output + (1 - gamma).sqrt() * x
    assert torch.allclose(noise_of(prior, 8), expected, atol=1e-5)
    # The network alone, as `net.save_pretrained` writes it: DDPM's schedule.
    net.save_pretrained(tmp_path / "net")
    assert load_prior(tmp_path / "net").schedule.steps == 1000


class Opens:
    """A pickle that would run code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_a_pickle_with_code_is_not_executed(tmp_path: Path) -> None:
    for name, write in (
        ("plain.pth", lambda path, value: path.write_bytes(pickle.dumps(value))),
        ("zip.pth", lambda path, value: torch.save(value, path)),
    ):
        write(tmp_path / name, {"denoise_fn.x": Opens(tmp_path / "executed")})
        for load in (load_sr3, load_prior):
            with pytest.raises(InputError, match="never loaded: they can run code"):
                load(tmp_path / name)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_truncated_file(tmp_path: Path, share: float, name: str) -> None:
    from safetensors.torch import save_file

    state = SR3UNet(**SMALL).state_dict()
    (save_file if name.endswith("safetensors") else torch.save)(state, tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
    for load in (load_sr3, load_prior):
        with pytest.raises(InputError, match="damaged, cut short"):
            load(tmp_path / name)


def test_keys_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    state = public_sr3(SR3UNet(**SMALL), NoiseSchedule.linear(5))
    path = tmp_path / "w.pth"
    for change, message in (
        ({"denoise_fn.mid.0.attn.out.bias": None}, r"1 missing: mid\.0\.attn\.out\.bias"),
        ({"denoise_fn.extra": torch.zeros(2)}, r"1 surplus: extra"),
        ({"denoise_fn.mid.0.attn.out.bias": torch.zeros(3)}, r"1 misshapen: .*\(3,\) instead of"),
        ({"posterior_mean_coef1": None}, r"noise schedule.*1 missing: posterior_mean_coef1"),
        ({"unknown_buffer": torch.zeros(5)}, r"1 surplus: unknown_buffer"),
        ({"betas": torch.zeros(4)}, r"1 misshapen: betas"),
        ({"betas": torch.tensor(0.1)}, r"1 misshapen: betas"),
        ({"denoise_fn.downs.0.weight": None}, r"1 missing: downs\.0\.weight"),
        ({"denoise_fn.noise_level_mlp.1.weight": None}, r"1 missing: noise_level_mlp\.1\.weight"),
        ({"denoise_fn.downs.1.res_block.block1.block.3.weight": None}, r"SR3UNet: 1 missing: "),
        ({"denoise_fn.downs.0.weight": torch.zeros(9, 6, 3, 3)}, r"1 misshapen: downs\.0\.weight"),
        ({"denoise_fn.downs.0.bias": torch.zeros(8, dtype=torch.int64)}, r"no real numbers"),
        ({"sqrt_alphas_cumprod": torch.ones(5)}, r"sqrt_alphas_cumprod contradict"),
        ({"betas": torch.full((5,), 2.0)}, r"betas in it make no noise schedule"),
        ({"betas": torch.full((5,), 0.5)}, r"alphas_cumprod contradict each other"),
    ):
        changed = {k: v for k, v in (state | change).items() if v is not None}
        torch.save(changed, path)
        with pytest.raises(InputError, match=message):
            load_sr3(path, norm_groups=4)


@pytest.mark.parametrize("key", ["time_embed.0.weight", "input_blocks.0.0.weight",
                                 "input_blocks.3.1.qkv.weight",
                                 "output_blocks.1.2.conv.weight", "out.0.weight",
                                 "input_blocks.1.0.emb_layers.1.weight"])  # fmt: skip
@pytest.mark.parametrize("change", ["missing", "misshapen"])
def test_one_bad_key_of_a_guided_net_is_named_alone(tmp_path: Path, key: str, change: str) -> None:
    net = GuidedUNet(
        model_channels=32, channel_mult=(1, 2), num_res_blocks=1, attention_resolutions=(2,),
        num_head_channels=32, resblock_updown=False,
    )  # fmt: skip
    state = net.state_dict()
    tensor = state.pop(key)
    if change == "misshapen":
        state[key] = torch.cat([tensor, tensor[:1]])
    torch.save(state, tmp_path / "prior.pt")
    with pytest.raises(InputError, match=rf"does not fit GuidedUNet: 1 {change}: {re.escape(key)}"):
        load_prior(tmp_path / "prior.pt", num_head_channels=32)


@pytest.mark.parametrize("key", ["temb.dense.0.weight", "conv_in.weight", "conv_out.bias",
                                 "down.1.attn.0.q.weight", "down.0.block.0.conv1.weight",
                                 "down.0.downsample.conv.weight"])  # fmt: skip
@pytest.mark.parametrize("change", ["missing", "misshapen"])
def test_one_bad_key_of_a_ddpm_net_is_named_alone(tmp_path: Path, key: str, change: str) -> None:
    state = DDPMUNet(32, 32, (1, 2), 1, (16,)).state_dict()
    tensor = state.pop(key)
    if change == "misshapen":
        state[key] = torch.cat([tensor, tensor[:1]])
    torch.save(state, tmp_path / "prior.ckpt")
    with pytest.raises(InputError, match=rf"does not fit DDPMUNet: 1 {change}: {re.escape(key)}"):
        load_prior(tmp_path / "prior.ckpt")


def test_a_diffusers_folder_that_lacks_a_key(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    diffusers_unet().save_pretrained(tmp_path)
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    state = load_file(file)
    for changed, message in (
        ({k: v for k, v in state.items() if k != "conv_norm_out.weight"}, "missing.*conv_norm_out"),
        (state | {"foo": torch.zeros(1)}, "unexpected.*foo"),
    ):
        save_file(changed, file)
        with pytest.raises(InputError, match=message):
            load_prior(tmp_path)


def test_the_moving_average_is_taken_where_there_is_one(tmp_path: Path) -> None:
    """DDIM's training code saves [model, optimizer, epoch, step, moving average]."""
    state = DDPMUNet(32, 32, (1,), 1, ()).state_dict()
    average = {key: value + 1 for key, value in state.items()}
    torch.save([state, {"state": {}}, 3, 4, average], tmp_path / "list.ckpt")
    torch.save({"model": state, "ema": average}, tmp_path / "dict.ckpt")
    for name in ("list.ckpt", "dict.ckpt"):
        net = load_prior(tmp_path / name).net
        assert torch.equal(net.state_dict()["conv_in.bias"], average["conv_in.bias"])


def test_the_noise_of_an_x0_prior_is_exact_at_the_lowest_level(tmp_path: Path) -> None:
    net = SR3UNet(in_channel=3, **SMALL).eval()
    schedule = NoiseSchedule.linear()
    save_sr3(tmp_path / "own", net, Parametrization("x0"), schedule)
    x = torch.linspace(-1, 1, 192).reshape(1, 3, 8, 8)
    gamma = schedule.gammas[1]
    with torch.no_grad():
        x0 = net(x, None, gamma.sqrt().float()[None]).double()
    exact = (x.double() - gamma.sqrt() * x0) / (1 - gamma).sqrt()
    off = (noise_of(load_prior(tmp_path / "own"), 8, 0) - exact).abs().max() / exact.abs().max()
    assert float(off) < 2e-5


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


def test_a_first_multiplier_above_1(tmp_path: Path) -> None:
    net = SR3UNet(
        inner_channel=16, channel_mults=(2, 4), norm_groups=16, image_size=32, attn_res=()
    )
    torch.save(net.state_dict(), tmp_path / "w.pth")
    assert load_sr3(tmp_path / "w.pth").config["norm_groups"] == 16


def test_another_kind_is_named(tmp_path: Path) -> None:
    for key, load, kind in (
        ("input_blocks.0.0.weight", load_sr3, "guided-diffusion's"),
        ("temb.dense.0.weight", load_sr3, "the DDPM CelebA-HQ kind"),
        ("model.diffusion_model.x", load_prior, "latent diffusion's"),
        ("denoise_fn.time_mlp.1.weight", load_sr3, "DDPM network"),
        ("exp_avg", load_sr3, "an optimizer's state"),
        ("layers.0.weight", load_prior, "of an unknown kind .it begins with layers.0.weight"),
        ("label_emb.weight", load_prior, "class-conditional"),
    ):
        torch.save({key: torch.zeros(2, 2)}, tmp_path / "w.pth")
        with pytest.raises(InputError, match=kind):
            load(tmp_path / "w.pth")


def test_conditional_models_are_no_priors(tmp_path: Path) -> None:
    torch.save(SR3UNet(**SMALL).state_dict(), tmp_path / "sr3.pth")
    torch.save(GuidedUNet(in_channels=6, model_channels=32, channel_mult=(1,), num_res_blocks=1,
                          num_head_channels=32).state_dict(), tmp_path / "guided.pt")  # fmt: skip
    for name, message in (("sr3.pth", "conditional"), ("guided.pt", "takes 6 channels")):
        with pytest.raises(InputError, match=message):
            load_prior(tmp_path / name)


def test_bad_overrides(tmp_path: Path) -> None:
    net = GuidedUNet(model_channels=32, channel_mult=(1,), num_res_blocks=1, num_head_channels=32)
    torch.save(net.state_dict(), tmp_path / "prior.pt")
    with pytest.raises(InputError, match=r"no argument .num_head_chanels.*num_head_channels"):
        load_prior(tmp_path / "prior.pt", num_head_chanels=16)
    with pytest.raises(InputError, match="cannot be split into 5 heads"):
        load_prior(tmp_path / "prior.pt", num_heads=5)
    with pytest.raises(InputError, match="no file"):
        load_prior(tmp_path / "absent.pt")


def test_a_folder_that_is_nobodys(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights here"):
        load_prior(tmp_path)
    (tmp_path / "config.json").write_text('{"_class_name": "AutoencoderKL"}')
    pytest.importorskip("diffusers")
    with pytest.raises(InputError, match="holds a AutoencoderKL"):
        load_prior(tmp_path)


def test_a_prior_is_in_evaluation_mode(tmp_path: Path) -> None:
    torch.save(DDPMUNet(32, 32, (1,), 1, ()).state_dict(), tmp_path / "prior.ckpt")
    prior = load_prior(tmp_path / "prior.ckpt", dropout=0.5)
    assert isinstance(prior, Prior)
    assert not any(module.training for module in prior.modules())
