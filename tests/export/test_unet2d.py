"""SR3's U-Net as diffusers' `UNet2DModel`, against diffusers itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cl_sr.diffusion import Denoiser, NoiseSchedule, Parametrization, sample
from cl_sr.diffusion.parametrization import Prediction
from cl_sr.errors import InputError
from cl_sr.models import Model, SR3UNet, load_prior, sr3_prior

diffusers = pytest.importorskip("diffusers")

from cl_sr.export import unet2d  # noqa: E402
from cl_sr.export.unet2d import to_diffusers  # noqa: E402

NETS: dict[str, dict[str, Any]] = {
    "attention at one level": {"channel_mults": (1, 2, 2), "attn_res": (8,), "res_blocks": 2},
    "in the middle alone": {"channel_mults": (1, 2), "attn_res": (), "res_blocks": 1},
    "one level": {"channel_mults": (1,), "attn_res": (16,), "res_blocks": 2},
    "dropout": {"channel_mults": (1, 3), "attn_res": (16, 8), "res_blocks": 1, "dropout": 0.5},
}


def model(
    prediction: Prediction = "epsilon", conditional: bool = True, channels: int = 3, **net: Any
) -> Model:
    torch.manual_seed(0)
    arguments = {"inner_channel": 8, "norm_groups": 4, "image_size": 16, **net}
    shapes = {"in_channel": channels * (1 + conditional), "out_channel": channels}
    made = SR3UNet(**shapes, **arguments).eval()
    for weight in made.parameters():  # else biases are near zero
        weight.data += 0.05 * torch.randn_like(weight)
    schedule = NoiseSchedule.linear(100, 1e-4, 0.05)
    return Model(made, schedule, Parametrization(prediction), conditional=conditional, scale=4)


def noisy_and_condition() -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    noisy, condition = torch.randn(2, 2, 3, 16, 16, generator=random)
    return noisy, condition.clamp(-1, 1)


@pytest.mark.parametrize("net", NETS.values(), ids=NETS.keys())
@torch.no_grad()
def test_it_answers_as_the_net_does_at_every_time_step(net: dict[str, Any]) -> None:
    ours = model(**net)
    unet, _ = to_diffusers(ours)
    noisy, condition = noisy_and_condition()
    for t in (0, 1, 42, 99):
        level = ours.schedule.gammas[t + 1].sqrt().float().expand(2)
        expected = ours.net(noisy, condition, level)
        found = unet(torch.cat([condition, noisy], dim=1), t).sample
        assert torch.allclose(found, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("conditional", [True, False])
def test_grey_images_that_are_not_square(conditional: bool) -> None:
    """Attention is where the shorter side says."""
    ours = model(
        conditional=conditional, channels=1, channel_mults=(1, 2), attn_res=(8,), res_blocks=1,
        image_size=(16, 32),
    )  # fmt: skip
    unet, _ = to_diffusers(ours)
    assert tuple(unet.config.down_block_types) == ("DownBlock2D", "AttnDownBlock2D")
    unet2d._compare(ours, unet)


@pytest.mark.parametrize("prediction", ["epsilon", "v", "x0"])
@torch.no_grad()
def test_diffusers_draws_the_same_image(prediction: Prediction, tmp_path: Path) -> None:
    """By its own DDIM, with its own reading of the files."""
    ours = model(prediction, **NETS["attention at one level"])
    for part, name in zip(to_diffusers(ours), ("unet", "scheduler"), strict=True):
        part.save_pretrained(tmp_path / name)
    unet = diffusers.UNet2DModel.from_pretrained(tmp_path, subfolder="unet")
    scheduler = diffusers.DDIMScheduler.from_pretrained(
        tmp_path, subfolder="scheduler", clip_sample=False
    )
    scheduler.set_timesteps(10)
    noise, condition = noisy_and_condition()
    drawn = noise
    for t in scheduler.timesteps:
        answer = unet(torch.cat([condition, drawn], dim=1), t).sample
        drawn = scheduler.step(answer, t, drawn).prev_sample
    denoiser = Denoiser(ours.net, ours.parametrization)
    expected = sample(
        denoiser, condition, ours.schedule, "ddim", 10, clip=False, start=noise, eta=0.0
    )
    assert torch.allclose(drawn, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


@torch.no_grad()
def test_a_prior_is_a_pipeline_that_is_read_again(tmp_path: Path) -> None:
    ours = model("v", conditional=False, **NETS["in the middle alone"])
    diffusers.DDIMPipeline(*to_diffusers(ours)).save_pretrained(tmp_path)
    prior, expected = load_prior(tmp_path), sr3_prior(ours)
    assert torch.allclose(prior.schedule.gammas, ours.schedule.gammas, rtol=1e-4)
    noisy, _ = noisy_and_condition()
    for t in (0, 60, 99):
        found = prior(noisy, torch.tensor(t))
        assert torch.allclose(found, expected(noisy, torch.tensor(t)), rtol=1e-3, atol=1e-4)
    pipeline = diffusers.DDIMPipeline.from_pretrained(tmp_path)
    assert pipeline(num_inference_steps=2, output_type="np").images.shape == (1, 16, 16, 3)


def test_another_answer_is_refused() -> None:
    ours = model(**NETS["one level"])
    unet, _ = to_diffusers(ours)
    unet2d._compare(ours, unet)
    unet.conv_out.bias.data += 0.1
    with pytest.raises(InputError, match="does not answer as the net does"):
        unet2d._compare(ours, unet)
