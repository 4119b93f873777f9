"""A model is what images are drawn by."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from public_files import SMALL
from torch import Tensor

from cl_sr.diffusion import Denoiser, NoiseSchedule, Parametrization, sample
from cl_sr.models import Model, SR3UNet

SCHEDULE = NoiseSchedule.linear(20, 1e-3, 0.3)


@pytest.mark.parametrize("prediction", ["epsilon", "v", "x0"])
@pytest.mark.parametrize("target", ["image", "residual"])
def test_it_is_sampled_from_as_its_denoiser_is(prediction: Any, target: Any) -> None:
    torch.manual_seed(0)
    net = SR3UNet(**SMALL).eval()
    model = Model(net, SCHEDULE, Parametrization(prediction, target))
    condition = torch.rand(2, 3, 8, 8) * 2 - 1
    images = sample(model, condition, sampler="ddim", steps=4, seeds=[1, 2])
    denoiser = Denoiser(net, model.parametrization)
    assert torch.equal(images, sample(denoiser, condition, SCHEDULE, "ddim", 4, seeds=[1, 2]))


def test_an_unconditional_one_is_shown_nothing() -> None:
    model = Model(SR3UNet(in_channel=3, **SMALL).eval(), SCHEDULE, conditional=False)
    start = torch.randn(1, 3, 8, 8)
    alone = sample(model, None, sampler="ddim", steps=3, start=start)
    beside = sample(model, torch.zeros(1, 3, 8, 8), sampler="ddim", steps=3, start=start)
    assert torch.equal(alone, beside)


def test_what_is_diffused_and_clipped_is_the_models_to_say() -> None:
    class Halved(Model):
        clip = False  # type: ignore[misc]

        def encode(self, images: Tensor, condition: Tensor) -> Tensor:
            return images[..., ::2, ::2]

        def decode(self, diffused: Tensor, condition: Tensor) -> Tensor:
            return 9 * diffused.repeat_interleave(2, -1).repeat_interleave(2, -2)

        def shape(self, condition: Tensor) -> tuple[int, ...]:
            batch, channels, height, width = condition.shape
            return batch, channels, height // 2, width // 2

    model = Halved(SR3UNet(in_channel=3, **SMALL).eval(), SCHEDULE, conditional=False)
    images = sample(model, torch.zeros(1, 3, 16, 12), sampler="ddim", steps=2, seeds=[0])
    assert images.shape == (1, 3, 16, 12)
    assert float(images.abs().max()) > 1


def test_a_family_that_shows_more_is_not_sampled_from() -> None:
    class Other(Model):
        def shown(self, lr: Tensor, condition: Tensor) -> Tensor:
            return lr

    with pytest.raises(TypeError, match=r"restore with cl_sr\.load"):
        sample(Other(SR3UNet(**SMALL), SCHEDULE), torch.zeros(1, 3, 8, 8), steps=2)
