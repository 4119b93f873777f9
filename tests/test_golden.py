"""Recorded inputs and outputs of the public implementations: ours must compute the same.

`pytest tests/test_golden.py` ends with a table of the largest differences found, file by file.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor

from cl_sr.degradations.resize import downsample, upsample
from cl_sr.diffusion import Denoiser, Parametrization, q_sample, sample
from cl_sr.diffusion.times import travel_times
from cl_sr.evaluation import psnr, ssim
from cl_sr.models import load_prior, load_sr3, read_model
from cl_sr.zero_shot import AveragePool, Bicubic, check_operator, ddnm

pytestmark = pytest.mark.shared
PREPARED = ["celebahq_16_128_00031", "celebahq_64_512_00030", "ffhq_64_512_00041"]
Record = Callable[[str, str, float, float], None]
Compare = Callable[[str, str, Tensor, Tensor, float], None]


@pytest.fixture
def compare(record: Record) -> Compare:
    """`compare(file, what, ours, theirs, tolerance)`: relative to the largest value of theirs."""

    def check(file: str, what: str, ours: Tensor, theirs: Tensor, tolerance: float) -> None:
        assert ours.shape == theirs.shape
        worst = float((ours - theirs).abs().max() / theirs.abs().max())
        record(file, what, worst, tolerance)
        assert worst <= tolerance

    return check


def recorded(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    with safe_open(path, "pt") as file:
        return file.metadata() or {}, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


@pytest.mark.parametrize("name", ["sr3_tiny", "sr3_uncond_tiny"])
def test_sr3(golden: Path, name: str, compare: Compare) -> None:
    about, io = recorded(golden / f"{name}_io.safetensors")
    config = json.loads(about["config"])
    weights = golden / f"{name}_gen.pth"
    net = load_sr3(weights, 32, norm_groups=config["norm_groups"]).eval()
    schedule = read_model(weights, 32, norm_groups=config["norm_groups"]).schedule
    assert net.config | {"dropout": config["dropout"]} == config
    condition = io["cond"] if about["conditional"] == "True" else None
    with torch.no_grad():
        answer = net(io["noisy"], condition, io["noise_level"])
        noisy = q_sample(io["hr"], io["train_level"], io["train_noise"])
        error = net(noisy, condition, io["train_level"]) - io["train_noise"]
    denoiser = Denoiser(net, Parametrization())
    images = sample(denoiser, condition, schedule, start=io["loop_start"], noises=io["loop_noises"])
    file = f"{name}_io"
    compare(file, "network output", answer, io["eps"], 2e-5)
    compare(file, "q_sample", noisy, io["q_sample"], 2e-5)
    compare(file, "ancestral trajectory", images, io["loop_end"], 1e-4)
    compare(file, "loss sum, L1", error.abs().sum(), io["loss_l1_sum"], 1e-5)
    compare(file, "loss sum, L2", error.square().sum(), io["loss_l2_sum"], 1e-5)


@pytest.mark.parametrize("name", ["sr3_tiny", "sr3_uncond_tiny"])
def test_the_schedule_of_an_sr3_file(golden: Path, name: str, compare: Compare) -> None:
    about, _ = recorded(golden / f"{name}_io.safetensors")
    options = json.loads(about["schedule"])
    betas = torch.linspace(
        options["linear_start"], options["linear_end"], options["n_timestep"], dtype=torch.float64
    )
    found = read_model(golden / f"{name}_gen.pth", 32).schedule
    gammas = torch.cumprod(1 - betas, 0)
    compare(f"{name}_gen.pth", "gammas from its betas", found.gammas[1:], gammas, 1e-6)


@pytest.mark.parametrize(
    ("name", "file", "overrides"),
    [
        ("guided_tiny", "guided_tiny.pt", {"num_head_channels": 16}),
        ("ddpm_tiny", "ddpm_tiny.ckpt", {}),
    ],
)
def test_priors(golden: Path, name: str, file: str, overrides: dict, compare: Compare) -> None:
    about, io = recorded(golden / f"{name}_io.safetensors")
    prior = load_prior(golden / file, **overrides)
    as_configured = load_prior(golden / file, **json.loads(about["config"]))
    with torch.no_grad():
        whole = prior.net(io["x"], io["t"])
        noise = as_configured(io["x"], io["t"])
    compare(f"{name}_io", "network output", whole, io["out"], 2e-5)
    compare(f"{name}_io", "noise", noise, io["out"][:, :3], 2e-5)


@pytest.mark.parametrize("operator", [AveragePool(4), Bicubic(4)])
@pytest.mark.parametrize("travel", ["plain", "travel"])
def test_ddnm(golden: Path, operator: AveragePool | Bicubic, travel: str, compare: Compare) -> None:
    kind = "avgpool" if isinstance(operator, AveragePool) else "bicubic"
    file = f"ddnm_{kind}_x4_{travel}"
    about, io = recorded(golden / f"{file}.safetensors")
    prior = load_prior(golden / "guided_tiny.pt", num_head_channels=16)
    options = [int(about[key]) for key in ("T_sampling", "travel_length", "travel_repeat")]
    steps, length, repeat = options
    # Recorded in units of the stride between sampled time-steps.
    times = [t if t < 0 else t * (1000 // steps) for t in io["times"].tolist()]
    assert travel_times(1000, steps, length, repeat) == times
    check_operator(operator, io["image"])
    images = ddnm(
        prior, io["lr"], operator, steps, float(about["eta"]), length, repeat,
        start=io["loop_start"], noises=io["loop_noises"],
    )  # fmt: skip
    low = operator.down(operator.pinv(io["lr"]))
    compare(file, "down", operator.down(io["image"]), io["lr"], 1e-5)
    compare(file, "pinv", operator.pinv(io["lr"]), io["pinv_lr"], 2e-5)
    compare(file, "down(pinv(lr)) - lr", low, io["lr"], 1e-5)
    compare(file, "DDNM trajectory", images, io["loop_end"], 1e-4)


def read(path: Path) -> Tensor:
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)[None]


@pytest.mark.parametrize("name", PREPARED)
def test_preparation(golden: Path, name: str, record: Record) -> None:
    """In grey levels of 255. The shipped low-resolution image was made from a larger original."""
    hr, lr, sr = (read(golden / "prepare" / name / f"{kind}.png") for kind in ("hr", "lr", "sr"))
    scale = hr.shape[-1] // lr.shape[-1]
    for what, ours, theirs in (
        ("LR from the shipped HR", downsample(hr, scale), lr),
        ("upsampled from the shipped LR", upsample(lr, scale), sr),
    ):
        off = (ours.int() - theirs.int()).abs()
        share = float((off > 0).float().mean())
        record(f"prepare/{name}", f"{what} ({share:.2%} of values)", float(off.max()), 1)
        assert int(off.max()) <= 1


@pytest.mark.parametrize("name", PREPARED)
def test_metrics(golden: Path, name: str, record: Record) -> None:
    about = json.loads((golden / "prepare" / "metrics.json").read_text())[name]
    hr, sr = (read(golden / "prepare" / name / f"{kind}.png") / 255 for kind in ("hr", "sr"))
    ours = {"psnr": float(psnr(hr, sr)), "ssim": float(ssim(hr, sr))}
    for key, of, tolerance in (
        ("janspiry_psnr", "psnr", 1e-4),
        ("skimage_psnr", "psnr", 1e-4),
        ("janspiry_ssim", "ssim", 1e-5),
        ("skimage_ssim_gauss", "ssim", 1e-5),
    ):
        off = abs(ours[of] - about[key])
        record(f"prepare/{name}", key, off, tolerance)
        assert off <= tolerance


def test_y601(golden: Path) -> None:
    """The value that is published for this pair (its luma in 16 to 235)."""
    pair = (read(golden / "prepare" / PREPARED[0] / f"{kind}.png") / 255 for kind in ("hr", "sr"))
    assert float(psnr(*pair, protocol="y601")) == pytest.approx(22.55, abs=5e-3)
