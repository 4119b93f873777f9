"""How a prior was trained: what its file tells, what is given, and what is assumed."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from public_files import SMALL, public_sr3
from torch import Tensor, nn

from cl_sr.diffusion import NoiseSchedule
from cl_sr.errors import InputError
from cl_sr.models import Model, SR3UNet, load_prior, save_model
from cl_sr.models.checkpoint import GAMMAS
from cl_sr.models.ddpm import DDPMUNet
from cl_sr.models.guided import GuidedUNet
from cl_sr.models.public import public_buffers
from cl_sr.models.training_noise import split_arguments
from cl_sr.zero_shot import AveragePool, ddnm

MEAN, STD = 0.2, 0.1


@pytest.fixture
def ddpm(tmp_path: Path) -> Path:
    torch.save(DDPMUNet(32, 32, (1, 1), 1, ()).state_dict(), tmp_path / "prior.ckpt")
    return tmp_path / "prior.ckpt"


@pytest.fixture
def guided(tmp_path: Path) -> Path:
    net = GuidedUNet(model_channels=32, channel_mult=(1, 1), num_res_blocks=1, num_head_channels=32)
    torch.save(net.state_dict(), tmp_path / "prior.pt")
    return tmp_path / "prior.pt"


def unet_folder(folder: Path) -> Path:
    diffusers = pytest.importorskip("diffusers")
    net = diffusers.UNet2DModel(
        sample_size=8, block_out_channels=(32,), layers_per_block=1,
        down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
    )  # fmt: skip
    net.save_pretrained(folder)
    return folder


def told(path: Path, *args: Any, **arguments: Any) -> list[str]:
    """The lines that are told when a prior is read."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_prior(path, *args, **arguments)
    return [str(warning.message) for warning in caught if "assumed" in str(warning.message)]


def same(prior: Any, schedule: NoiseSchedule) -> bool:
    return torch.allclose(prior.schedule.gammas, schedule.gammas, rtol=1e-12, atol=0)


def test_one_line_says_what_was_assumed(ddpm: Path) -> None:
    (line,) = told(ddpm)
    assert line == (
        f"{ddpm} does not tell how its net was trained: noise_schedule=linear diffusion_steps=1000 "
        "beta_start=0.0001 beta_end=0.02 prediction=epsilon are assumed; if it was another way, "
        "say so, as in noise_schedule=cosine diffusion_steps=4000"
    )
    (line,) = told(ddpm, noise_schedule="cosine")
    assert "diffusion_steps=1000 prediction=epsilon are assumed" in line
    assert "beta" not in line
    (line,) = told(ddpm, NoiseSchedule.linear(50))
    assert ": prediction=epsilon is assumed; if it was another way, say so, as in pred" in line
    assert told(ddpm, "cosine", diffusion_steps=4000, prediction="epsilon") == []


def test_files_that_tell_are_silent(tmp_path: Path) -> None:
    net = SR3UNet(in_channel=3, **SMALL)
    torch.save(public_sr3(net, NoiseSchedule.linear(20)), tmp_path / "I1_gen.pth")
    save_model(tmp_path / "own", Model(net, NoiseSchedule.linear(20), conditional=False))
    assert told(tmp_path / "I1_gen.pth", norm_groups=4) == []
    assert told(tmp_path / "own") == []
    torch.save(net.state_dict(), tmp_path / "bare.pth")
    (line,) = told(tmp_path / "bare.pth", norm_groups=4)
    assert "diffusion_steps=2000 beta_start=1e-06 beta_end=0.01 prediction=epsilon are" in line


def test_an_sr3_net_of_v_in_a_process_of_ones_own(tmp_path: Path) -> None:
    net = SR3UNet(in_channel=3, **SMALL).eval()
    state = public_sr3(net, NoiseSchedule.linear(20, 1e-3, 0.2))
    torch.save(state, tmp_path / "w.pth")
    prior = load_prior(tmp_path / "w.pth", norm_groups=4, prediction="v")
    x, gamma = torch.randn(1, 3, 8, 8), prior.schedule.gammas[4:5].float()
    with torch.no_grad():
        output = net(x, None, gamma.sqrt())
        expected = gamma.sqrt() * output + (1 - gamma).sqrt() * x
        assert torch.allclose(prior(x, 3), expected, atol=1e-5)


def test_an_own_folder_of_old_without_its_schedule(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    net = SR3UNet(in_channel=3, **SMALL)
    save_model(tmp_path / "own", Model(net, NoiseSchedule.linear(20), conditional=False))
    file = tmp_path / "own" / "model.safetensors"
    save_file({k: v for k, v in load_file(file).items() if k != GAMMAS}, file)
    (line,) = told(tmp_path / "own")
    assert "diffusion_steps=2000 beta_start=1e-06 beta_end=0.01 are assumed" in line
    found = load_prior(tmp_path / "own", noise_schedule="cosine", diffusion_steps=30)
    assert same(found, NoiseSchedule.cosine(30))


def test_a_net_of_diffusers_without_a_scheduler(tmp_path: Path) -> None:
    folder = unet_folder(tmp_path / "net")
    (line,) = told(folder)
    assert "noise_schedule=linear diffusion_steps=1000" in line
    theirs = {
        "beta_schedule": "squaredcos_cap_v2",
        "num_train_timesteps": 40,
        "prediction_type": "v_prediction",
    }
    assert told(folder, **theirs) == []
    prior = load_prior(folder, **theirs)
    assert same(prior, NoiseSchedule.cosine(40))
    x, gamma = torch.randn(1, 3, 8, 8), prior.schedule.gammas[4]
    with torch.no_grad():
        output = prior.net.net(x, 3).sample  # type: ignore[union-attr, operator]
        expected = gamma.sqrt() * output + (1 - gamma).sqrt() * x
        assert torch.allclose(prior(x, 3), expected.float(), atol=1e-5)


@pytest.mark.parametrize("steps", [25, 1000])
@pytest.mark.parametrize("kind", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_schedules_are_diffusers_own(ddpm: Path, kind: str, steps: int) -> None:
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDPMScheduler(steps, beta_start=1e-3, beta_end=0.015, beta_schedule=kind)
    prior = load_prior(
        ddpm, beta_schedule=kind, num_train_timesteps=steps, beta_start=1e-3, beta_end=0.015
    )
    assert float((prior.schedule.gammas[1:] - theirs.alphas_cumprod).abs().max()) < 1e-6


def test_guided_diffusion_shortens_its_linear_schedule_by_larger_steps(guided: Path) -> None:
    """get_named_beta_schedule: `scale = 1000 / num_diffusion_timesteps`."""
    prior = load_prior(guided, diffusion_steps=250)
    assert same(prior, NoiseSchedule.linear(250, 4e-4, 0.08))
    given = load_prior(guided, diffusion_steps=250, beta_start=1e-4, beta_end=0.02)
    assert same(given, NoiseSchedule.linear(250, 1e-4, 0.02))
    assert same(load_prior(guided), NoiseSchedule.linear(1000, 1e-4, 0.02))
    cosine = load_prior(guided, noise_schedule="cosine", diffusion_steps=4000)
    assert same(cosine, NoiseSchedule.cosine(4000))


@pytest.mark.parametrize("prediction", ["v", "x0"])
def test_what_a_net_predicts_is_taken_as_it_is_told(ddpm: Path, prediction: str) -> None:
    plain, prior = load_prior(ddpm), load_prior(ddpm, prediction=prediction)
    x = torch.linspace(-1, 1, 192).reshape(1, 3, 8, 8)
    gamma = plain.schedule.gammas[500].float()
    with torch.no_grad():
        output, noise = plain(x, 499), prior(x, 499)
    expected = (
        gamma.sqrt() * output + (1 - gamma).sqrt() * x
        if prediction == "v"
        else (x - gamma.sqrt() * output) / (1 - gamma).sqrt()
    )
    assert torch.allclose(noise, expected, atol=1e-5)


def test_time_steps_on_the_scale_of_a_thousand(guided: Path) -> None:
    """improved-diffusion's `rescale_timesteps`: nets of 4000 steps are told a quarter of each."""
    plain = load_prior(guided, "cosine", diffusion_steps=4000)
    scaled = load_prior(guided, "cosine", diffusion_steps=4000, rescale_timesteps=True)
    nn.init.normal_(plain.net.out[2].weight, std=0.1)  # type: ignore[index, union-attr, arg-type]
    scaled.net.net.load_state_dict(plain.net.state_dict())  # type: ignore[union-attr]
    x = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(scaled(x, 2000), plain(x, 500))
        assert not torch.equal(scaled(x, 2000), plain(x, 2000))


def test_betas_beside_a_net_are_its_schedule(tmp_path: Path) -> None:
    state = {f"model.{name}": t for name, t in DDPMUNet(32, 32, (1,), 1, ()).state_dict().items()}
    schedule = NoiseSchedule.cosine(50)
    torch.save(state | public_buffers(schedule), tmp_path / "process.pt")
    assert same(load_prior(tmp_path / "process.pt"), schedule)
    (line,) = told(tmp_path / "process.pt")
    assert ": prediction=epsilon is assumed" in line


class Exact(nn.Module):
    """The noise in images that are N(MEAN, STD^2) in every pixel: the perfect net of a schedule."""

    def __init__(self, schedule: NoiseSchedule) -> None:
        super().__init__()
        self.gammas = schedule.gammas[1:]

    def forward(self, noisy: Tensor, timestep: Tensor) -> Tensor:
        gamma = float(self.gammas[int(timestep.flatten()[0])])
        variance = gamma * STD**2 + 1 - gamma
        x0 = MEAN + math.sqrt(gamma) * STD**2 / variance * (noisy - math.sqrt(gamma) * MEAN)
        noise: Tensor = (noisy - math.sqrt(gamma) * x0) / math.sqrt(1 - gamma)
        return noise


def test_the_detail_of_an_exact_net_depends_on_its_schedule(
    ddpm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DDNM with the perfect denoiser of cosine-4000: what the operator does not see has variance.

    The mean of 16 pixels is given; the rest of each must have STD^2 * 15 / 16.
    """
    exact = Exact(NoiseSchedule.cosine(4000))
    monkeypatch.setattr("cl_sr.models.prior_loading.build", lambda *_: exact)
    lr = torch.full((4, 3, 8, 8), MEAN)

    def detail(**arguments: Any) -> float:
        prior = load_prior(ddpm, **arguments)
        images = ddnm(prior, lr, AveragePool(4), steps=500, eta=0.0, seeds=[0, 1, 2, 3])
        return float(images.std()) / (STD * math.sqrt(15 / 16))

    right = detail(noise_schedule="cosine", diffusion_steps=4000, prediction="epsilon")
    assert right == pytest.approx(1, abs=0.02)
    assert not 0.5 < detail() < 2  # or no number at all


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise_schedule": "cosin"}, r"noise_schedule='cosin': did you mean 'cosine'\?"),
        ({"noise_schedule": 3}, "noise_schedule=3: choose from"),
        ({"schedule": "exponential"}, "schedule='exponential'"),
        ({"noise_schedul": "cosine"}, "did you mean 'noise_schedule'"),
        ({"diffusion_steps": 0}, r"diffusion_steps=0 must be in 1\.\.100000"),
        ({"diffusion_steps": 10**9}, r"must be in 1\.\.100000"),
        ({"diffusion_steps": 10.5}, "is no whole number"),
        ({"diffusion_steps": True}, "is no whole number"),
        ({"beta_start": -1e-4}, r"beta_start=-0.0001 must be in 0\.\.1"),
        ({"beta_end": "much"}, "beta_end='much' is no number"),
        ({"beta_end": 1.0}, "make no noise schedule"),
        ({"beta_end": float("nan")}, "beta_end=nan must be"),
        ({"prediction": "w"}, "prediction='w': choose from"),
        ({"prediction": True}, "prediction=True: choose from"),
        ({"predict_xstart": "yes"}, "predict_xstart='yes' must be true or false"),
        ({"rescale_timesteps": 1}, "must be true or false"),
        ({"noise_schedule": "cosine", "beta_schedule": "linear"}, "given twice"),
        ({"schedule": NoiseSchedule.linear(5), "diffusion_steps": 5}, "diffusion_steps as well"),
        ({"learn_sigma": True}, "leave out learn_sigma"),
    ],
)
def test_what_makes_no_schedule(
    tmp_path: Path, guided: Path, arguments: dict[str, Any], message: str
) -> None:
    if "learn_sigma" in arguments:
        net = GuidedUNet(
            model_channels=32, channel_mult=(1, 1), num_res_blocks=1, num_head_channels=32,
            out_channels=3,
        )  # fmt: skip
        torch.save(net.state_dict(), guided)
    with pytest.raises(InputError, match=message):
        load_prior(guided, **arguments)


def test_what_a_file_tells_is_not_told_otherwise(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    unet_folder(tmp_path / "unet")
    diffusers.DDPMScheduler(40, prediction_type="sample").save_pretrained(tmp_path / "scheduler")
    with pytest.raises(InputError, match="tells its noise schedule of 40 steps: leave out diff"):
        load_prior(tmp_path, diffusion_steps=50)
    with pytest.raises(InputError, match="net predicts x0: leave out prediction=v"):
        load_prior(tmp_path, prediction="v")
    assert told(tmp_path, prediction="x0") == []
    with pytest.raises(InputError, match="rescale_timesteps"):
        load_prior(tmp_path, rescale_timesteps=True)


def test_names_of_others_are_ours() -> None:
    noise, rest = split_arguments({"predict_xstart": True, "beta_schedule": "quad", "heads": 3})
    assert (noise.prediction, noise.noise_schedule) == ("x0", "scaled_linear")
    assert rest == {"heads": 3}
    assert split_arguments({"prediction_type": "sample"})[0].prediction == "x0"
    assert split_arguments({"predict_xstart": False})[0].prediction == "epsilon"
