"""`cl_sr.load` of files that do not describe themselves."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from public_files import SMALL, public_sr3
from torch import Tensor

import cl_sr
from cl_sr.diffusion import Denoiser, NoiseSchedule, Parametrization, sample
from cl_sr.errors import InputError
from cl_sr.models import Model, SR3UNet, save_model

SCHEDULE = NoiseSchedule.linear(50, 1e-4, 0.05)


def net(channels: int = 6) -> SR3UNet:
    torch.manual_seed(0)
    return SR3UNet(in_channel=channels, **SMALL, attn_res=(8,), image_size=16).eval()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "I640000_E37_gen.pth"
    torch.save(public_sr3(net(), SCHEDULE), path)
    return path


@pytest.fixture
def lr() -> Tensor:
    return torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))


FACTS = {"norm_groups": 4, "image_size": 16}


def test_its_images_are_those_of_the_net(file: Path, lr: Tensor) -> None:
    restorer = cl_sr.load(file, scale=4, device="cpu", **FACTS)
    assert (restorer.scale, restorer.degradation.name) == (4, "bicubic")
    found = restorer(lr, steps=5, seeds=[3, 4])
    condition = restorer.degradation.condition((lr * 255).round().byte())
    expected = sample(
        Denoiser(net(), Parametrization()),
        condition.float() / 255 * 2 - 1,
        SCHEDULE,
        "ddim",
        5,
        seeds=[3, 4],
    )
    assert torch.allclose(found, (expected.clamp(-1, 1) + 1) / 2, atol=1e-4)
    assert cl_sr.load(file, scale=2, **FACTS).scale == 2


def test_what_is_assumed_of_a_bare_net_is_said(file: Path, lr: Tensor, tmp_path: Path) -> None:
    bare = tmp_path / "bare.pth"
    torch.save(net().state_dict(), bare)
    with pytest.warns(UserWarning, match="noise_schedule=linear diffusion_steps=2000 beta_start="):
        assert cl_sr.load(bare, scale=4, **FACTS).model.schedule.steps == 2000
    noise = {"diffusion_steps": 50, "beta_start": 1e-4, "beta_end": 0.05}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = cl_sr.load(file, scale=4, **FACTS)
        told = cl_sr.load(
            bare, scale=4, noise_schedule="linear", prediction="epsilon", **noise, **FACTS
        )
        by_v = cl_sr.load(bare, scale=4, noise_schedule="linear", prediction="v", **noise, **FACTS)
    assert torch.allclose(told(lr, steps=5), whole(lr, steps=5), atol=1e-4)
    assert not torch.allclose(by_v(lr, steps=5), whole(lr, steps=5), atol=1e-2)
    with pytest.raises(InputError, match="tells its noise schedule of 50 steps: leave out"):
        cl_sr.load(file, scale=4, diffusion_steps=1000, **FACTS)


def test_a_state_is_named_without_the_end_of_its_file(file: Path) -> None:
    assert cl_sr.load(file.with_name("I640000_E37"), scale=4, **FACTS).scale == 4
    assert cl_sr.load(file.parent, scale=4, **FACTS).scale == 4


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({}, "does not tell the scale"),
        ({"scale": 4, "norm_groups": 3}, "no such network can be built"),
        ({"scale": 4, "groups": 4}, "no argument 'groups'"),
        ({"scale": 4, "degradation": "bicubik"}, "did you mean 'bicubic'"),
        ({"scale": 4, "image_size": "large"}, "is no number of pixels"),
        ({"scale": 4, "after": "celeba"}, "is no run"),
    ],
)
def test_what_it_does_not_tell(file: Path, facts: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        cl_sr.load(file, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["SR3", "guided-diffusion", "DDPM", "diffusers", "folder"])
def test_a_prior_is_refused_with_the_command_that_takes_it(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "prior.pth"
    keys = {
        "guided-diffusion": ("input_blocks.0.0.weight", "time_embed.0.weight"),
        "DDPM": ("temb.dense.0.weight", "down.0.block.0.conv1.weight"),
        "diffusers": ("down_blocks.0.weight", "time_embedding.linear_1.weight"),
    }
    if kind == "SR3":
        torch.save(public_sr3(net(3), SCHEDULE), path)
    elif kind == "folder":
        path = tmp_path
        (path / "model_index.json").write_text("{}")
    else:
        torch.save({name: torch.zeros(2, 2) for name in keys[kind]}, path)
    with pytest.raises(InputError, match="cl-sr zero-shot --prior takes it"):
        cl_sr.load(path, scale=4)


def test_what_describes_itself_is_not_told_otherwise(tmp_path: Path) -> None:
    save_model(tmp_path / "own", Model(net(), SCHEDULE, scale=4))
    assert cl_sr.load(tmp_path / "own", scale=4).scale == 4
    assert cl_sr.load(tmp_path / "own" / "model.safetensors").scale == 4
    with pytest.raises(InputError, match="was trained for scale 4, not 8"):
        cl_sr.load(tmp_path / "own", scale=8)
    with pytest.raises(InputError, match="tells its architecture itself: norm_groups is for"):
        cl_sr.load(tmp_path / "own", norm_groups=4)
