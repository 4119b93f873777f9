"""A family of models in one file: it sees features of the low-resolution image, and diffuses the
latent of an autoencoder, whose shape is not the image's.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import TINY
from running import load_run, plan_of, results, run

import cl_sr
from cl_sr.degradations import Bicubic
from cl_sr.errors import InputError
from cl_sr.models import read_model, save_model
from cl_sr.runs.images import test_samples as run_samples

pytestmark = pytest.mark.run

LATENT = '''
"""Diffuses an autoencoder's latent, shown features of the low-resolution image."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from cl_sr.models.family import Family, ModelKeys
from cl_sr.models.model import Model
from cl_sr.schema import Size


class Keys(ModelKeys):
    width: Size = Field(4, description="features of the low-resolution image")
    latent: Size = Field(2, description="channels of the latent")


class Net(nn.Module):
    def __init__(self, width, latent):
        super().__init__()
        self.encoder = nn.Conv2d(3, width, 3, padding=1)
        self.to_latent = nn.Conv2d(3, latent, 2, stride=2)
        self.to_image = nn.ConvTranspose2d(latent, 3, 2, stride=2)
        for part in (self.to_latent, self.to_image):  # the autoencoder is not trained
            part.requires_grad_(False)
        self.mix = nn.Conv2d(latent + width, 8, 3, padding=1)
        self.level = nn.Linear(1, 8)
        self.out = nn.Conv2d(8, latent, 1)

    def forward(self, noisy, features, level):
        assert features.shape[2:] == noisy.shape[2:]
        seen = self.mix(torch.cat([noisy, features], dim=1))
        return self.out(F.silu(seen + self.level(level.view(-1, 1))[:, :, None, None]))


@dataclass(frozen=True, eq=False)
class Latent(Model):
    clip: ClassVar[bool] = False

    def shown(self, lr, condition):
        assert lr.shape[-1] * self.scale == condition.shape[-1]
        return F.interpolate(self.net.encoder(lr), scale_factor=self.scale / 2)

    def encode(self, images, condition):
        return self.net.to_latent(images - condition)

    def decode(self, diffused, condition):
        return condition + self.net.to_image(diffused)

    def shape(self, condition):
        batch, _, height, width = condition.shape
        return batch, self.architecture["latent"], height // 2, width // 2


def architecture(keys, image_size, conditional):
    if image_size % 2:
        raise ValueError(f"data.size={image_size} is odd")
    if not conditional:
        raise ValueError("there is no prior of this family")
    return {"width": keys.width, "latent": keys.latent}


def model(architecture, **shared):
    return Latent(Net(**architecture), architecture=architecture, **shared)


family = Family("latent", Keys, architecture, model)
'''


@pytest.fixture
def settings(tmp_path: Path) -> list[str]:
    (tmp_path / "latent.py").write_text(LATENT)
    plain = [item for item in TINY if not item.startswith("model.")]
    return [*plain, "data.size=16", f"model.family={tmp_path / 'latent.py'}", "model.latent=3"]


@pytest.mark.parametrize(
    "strategy",
    [
        "finetune",
        "replay:size=4+generative-distill:size=4",
        "router:rank=2",
        "lora:rank=2",
        "freeze:parts=level",
        "si+l2-sp:weight=0.1",
        "window-experts:stop=1000",
        "ewc:samples=2",
    ],
)
def test_it_is_trained_evaluated_and_loaded(
    tmp_path: Path, settings: list[str], strategy: str
) -> None:
    record = run(tmp_path / "run", [*settings, f"strategy={strategy}"])
    (matrix, *_) = record.matrices
    assert matrix.learnt == ["celeba", "animef"]
    first, last = (read_model(tmp_path / f"run/checkpoints/{name}").net.state_dict()
                   for name in matrix.learnt)  # fmt: skip
    frozen = {name for name in first if name.startswith("to_")}
    changed = {name for name in first if not torch.equal(first[name], last[name])}
    assert changed.isdisjoint(frozen)  # the encoder learns, the autoencoder does not
    stays = {"lora:rank=2": "bias", "freeze:parts=level": "level"}.get(strategy, " ")
    assert changed == {name for name in set(first) - frozen if stays not in name}
    restorer = cl_sr.load(tmp_path / "run")
    samples = run_samples(record, "animef", 3, Bicubic(4))
    images = restorer.restore(samples.lr, [0, 1, 2])
    assert images.shape == (3, 3, 16, 16)
    error = (images.clamp(-1, 1).add(1).mul(127.5).round() - samples.hr).square()
    psnr = 10 * torch.log10(255**2 / error.mean(dim=(1, 2, 3)))
    assert psnr.tolist() == pytest.approx(record.images["animef", "animef"]["psnr"], abs=1e-4)
    # Noise is shaped by what is diffused: any size of images.
    assert restorer(torch.rand(2, 3, 6, 8)).shape == (2, 3, 24, 32)


def test_it_is_repeated_from_its_configuration_and_its_weights(
    tmp_path: Path, settings: list[str]
) -> None:
    first = run(tmp_path / "a", settings)
    again = run(tmp_path / "b", settings)
    assert results(first.path) == results(again.path)
    started = load_run([*settings, f"init={first.path / 'checkpoints' / 'celeba'}"])
    saved = read_model(first.path / "checkpoints" / "celeba")
    assert started.model.architecture == {"width": 4, "latent": 3}
    assert type(started.model).__name__ == "Latent"
    for name, weight in saved.net.state_dict().items():
        assert torch.equal(started.model.net.state_dict()[name], weight)
    save_model(tmp_path / "copy", saved)
    assert read_model(tmp_path / "copy").family == str(tmp_path / "latent.py")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.width=0", "model.width=0"),
        ("model.inner_channel=8", "unknown key 'model.inner_channel'"),
        ("strategy=ddnm", "the keys model.* make no net: there is no prior of this family"),
        ("data.size=20 data.scale=4", None),
    ],
)
def test_what_it_refuses_is_told_before_anything_is_made(
    settings: list[str], override: str, message: str | None
) -> None:
    overrides = [*settings, *override.split()]
    if message is None:
        plan_of(overrides)
        return
    with pytest.raises(InputError, match=message.replace("*", r"\*")):
        plan_of(overrides)
