"""Unconditional priors of every kind, and what is none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from public_files import SMALL, public_sr3
from torch import Tensor, nn

from cl_sr.diffusion import NoiseSchedule, Parametrization
from cl_sr.errors import InputError
from cl_sr.models import Model, Prior, SR3UNet, load_prior, save_model
from cl_sr.models.ddpm import DDPMUNet
from cl_sr.models.guided import GuidedUNet


def noise_of(model: Any, size: int, timestep: int = 3) -> Tensor:
    x = torch.linspace(-1, 1, 3 * size * size).reshape(1, 3, size, size)
    with torch.no_grad():
        answer: Tensor = model(x, torch.tensor([timestep]))
    return answer


def diffusers_unet(**more: Any) -> Any:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    return diffusers.UNet2DModel(
        sample_size=8, block_out_channels=(32, 32), layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"), attention_head_dim=8, **more,
    )  # fmt: skip


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


@pytest.mark.parametrize("kind", ["guided", "guided with variance", "ddpm", "diffusers"])
def test_a_prior_of_grey_images(tmp_path: Path, kind: str) -> None:
    """Of one channel in, and one out, or two where it learns its variance."""
    torch.manual_seed(0)
    path = tmp_path / "prior"
    x = torch.randn(2, 1, 8, 8)
    net: Any
    if kind == "diffusers":
        net = diffusers_unet(in_channels=1, out_channels=1).eval()
        net.save_pretrained(path)
    elif kind == "ddpm":
        net = DDPMUNet(32, 32, (1, 1), 1, (), in_channels=1, out_ch=1)
    else:
        net = GuidedUNet(
            model_channels=32, channel_mult=(1, 1), num_res_blocks=1, num_head_channels=32,
            in_channels=1, out_channels=2 if "variance" in kind else 1,
        )  # fmt: skip
        nn.init.normal_(net.out[2].weight, std=0.1)
    if kind != "diffusers":
        torch.save(net.eval().state_dict(), path)
    prior = load_prior(path, **({"num_head_channels": 32} if kind.startswith("guided") else {}))
    assert prior.channels == 1
    with torch.no_grad():
        answer = net(x, torch.tensor([3, 3]))
        expected = (answer.sample if kind == "diffusers" else answer)[:, :1]
        assert torch.allclose(prior(x, torch.tensor(3)), expected, atol=1e-6)


def test_an_unconditional_sr3_is_told_the_level_of_its_time_step(tmp_path: Path) -> None:
    net = SR3UNet(in_channel=3, **SMALL).eval()
    schedule = NoiseSchedule.linear(20, 1e-3, 0.2)
    torch.save(public_sr3(net, schedule), tmp_path / "I1_gen.pth")
    save_model(tmp_path / "own", Model(net, schedule, Parametrization("v"), conditional=False))
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


@pytest.mark.parametrize(
    ("scheduler", "options", "taken"),
    [
        ("DDIMScheduler", {}, True),
        ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}, True),
        ("EulerDiscreteScheduler", {}, True),
        ("UniPCMultistepScheduler", {"use_flow_sigmas": True}, False),
        ("EulerDiscreteScheduler", {"timestep_type": "continuous"}, False),
        ("ScoreSdeVeScheduler", {}, False),
        ("KarrasVeScheduler", {}, False),
        ("EDMEulerScheduler", {}, False),
        ("FlowMatchEulerDiscreteScheduler", {}, False),
        ("CMStochasticIterativeScheduler", {}, False),
    ],
)
def test_only_schedulers_of_ddpms_noise_are_taken(
    tmp_path: Path, scheduler: str, options: dict[str, Any], taken: bool
) -> None:
    import diffusers

    diffusers_unet().save_pretrained(tmp_path / "unet")
    made = getattr(diffusers, scheduler)(**options)
    made.save_pretrained(tmp_path / "scheduler")
    if taken:
        assert load_prior(tmp_path / "unet").schedule.steps == 1000
    else:
        with pytest.raises(InputError, match=rf"is of {scheduler}.*variance-preserving"):
            load_prior(tmp_path / "unet")


def test_a_latent_pipeline_is_no_prior_of_images(tmp_path: Path) -> None:
    import diffusers

    vae = diffusers.VQModel(block_out_channels=(32,), norm_num_groups=8)
    pipe = diffusers.LDMPipeline(vae, diffusers_unet(), diffusers.DDIMScheduler())
    pipe.save_pretrained(tmp_path)
    for place in (tmp_path, tmp_path / "unet"):
        with pytest.raises(InputError, match="is a pipeline with vqvae: a prior of images"):
            load_prior(place)


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
    save_model(tmp_path / "own", Model(net, schedule, Parametrization("x0"), conditional=False))
    x = torch.linspace(-1, 1, 192).reshape(1, 3, 8, 8)
    gamma = schedule.gammas[1]
    with torch.no_grad():
        x0 = net(x, None, gamma.sqrt().float()[None]).double()
    exact = (x.double() - gamma.sqrt() * x0) / (1 - gamma).sqrt()
    off = (noise_of(load_prior(tmp_path / "own"), 8, 0) - exact).abs().max() / exact.abs().max()
    assert float(off) < 2e-5


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
