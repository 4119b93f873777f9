"""DDNM against an exact prior: independent Gaussian pixels, whose posterior is known."""

from typing import Any

import pytest
import torch
from torch import Tensor

from cl_sr.diffusion import NoiseSchedule
from cl_sr.diffusion.times import travel_times
from cl_sr.zero_shot import AveragePool, Bicubic, ddnm

MEAN, STD = 0.2, 0.3


class GaussianPrior:
    schedule = NoiseSchedule.linear(1000, 1e-4, 2e-2)

    def __call__(self, noisy: Tensor, timestep: Tensor) -> Tensor:
        gamma = float(self.schedule.gammas[int(timestep[0]) + 1])
        level, variance = gamma**0.5, gamma * STD**2 + 1 - gamma
        x0 = MEAN + level * STD**2 / variance * (noisy - level * MEAN)
        return (noisy - level * x0) / (1 - gamma) ** 0.5


@pytest.fixture
def low() -> Tensor:
    return torch.randn(4, 3, 6, 5, generator=torch.Generator().manual_seed(1)) * 0.1 + MEAN


@pytest.mark.parametrize("operator", [AveragePool(4), Bicubic(4)])
@pytest.mark.parametrize("travel", [(1, 1), (3, 2)])
def test_the_result_is_consistent_with_its_low_resolution_image(
    operator: Any, travel: tuple[int, int], low: Tensor
) -> None:
    images = ddnm(GaussianPrior(), low, operator, 20, 0.85, *travel, seeds=range(4))
    assert float((operator.down(images) - low).abs().max()) < 1e-5


def test_the_null_space_is_filled_from_the_prior(low: Tensor) -> None:
    """Independent pixels: what averaging loses has mean 0 and the prior's variance there."""
    operator = AveragePool(4)
    low = low.repeat(20, 1, 1, 1)
    torch.manual_seed(0)
    images = ddnm(GaussianPrior(), low, operator, 500, eta=0.0)
    lost = images - operator.pinv(operator.down(images))
    assert abs(float(lost.mean())) < 1e-6
    assert float(lost.std()) == pytest.approx(STD * (1 - 1 / 16) ** 0.5, rel=0.05)


def test_a_noisy_image_is_not_reproduced_where_its_noise_is_known(low: Tensor) -> None:
    """DDNM reproduces the noise to the full; DDNM+ lets the prior take some of it away."""
    operator, prior, noise = AveragePool(4), GaussianPrior(), 0.2
    torch.manual_seed(0)
    truth = torch.randn(64, 3, 24, 24) * STD + MEAN
    clean = operator.down(truth)
    low = clean + noise * torch.randn_like(clean)
    plain = operator.down(ddnm(prior, low, operator, 100, seeds=range(64)))
    plus = operator.down(ddnm(prior, low, operator, 100, seeds=range(64), sigma_y=noise))
    assert float((plain - clean).square().mean().sqrt()) == pytest.approx(noise, rel=0.05)
    assert float((plus - clean).square().mean().sqrt()) < 0.9 * noise


def test_seeds_make_an_image_independent_of_its_batch(low: Tensor) -> None:
    together = ddnm(GaussianPrior(), low, Bicubic(2), 5, seeds=[3, 4, 5, 6])
    alone = ddnm(GaussianPrior(), low[2:3], Bicubic(2), 5, seeds=[5])
    assert torch.allclose(together[2:3], alone, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_images_of_another_precision_are_computed_in_float32(low: Tensor, dtype: Any) -> None:
    images = ddnm(GaussianPrior(), low.to(dtype), Bicubic(2), 5, seeds=range(4))
    assert images.dtype == torch.float32
    assert float((Bicubic(2).down(images) - low).abs().max()) < 1e-2


def test_time_travel_visits() -> None:
    """RePaint's schedule, by hand: 6 steps, jumps of 2, each done twice."""
    assert travel_times(60, 6) == [50, 40, 30, 20, 10, 0, -1]
    assert travel_times(1000, 600)[0] == 998
    assert travel_times(60, 6, 2, 2) == [
        *[50, 40, 30, 20, 30, 40, 30, 20, 10, 0, 10, 20, 10, 0, -1]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 1001}, r"1\.\.1000"),
        ({"travel_length": 0}, "at least 1"),
        ({"eta": 1.5}, "eta"),
        ({"sigma_y": -1.0}, "sigma_y"),
        ({"seeds": [1]}, "1 seeds for 4 images"),
        ({"steps": 5, "noises": torch.zeros(3, 4, 3, 12, 10)}, "3 recorded noises for 5"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    options: dict[str, Any], message: str, low: Tensor
) -> None:
    with pytest.raises(ValueError, match=message):
        ddnm(GaussianPrior(), low, AveragePool(2), **options)
