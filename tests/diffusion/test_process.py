import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cl_sr.diffusion import NoiseSchedule, Parametrization, draw_levels, q_sample
from cl_sr.diffusion.parametrization import Prediction, Target


def test_q_sample_by_hand() -> None:
    y0, noise = torch.full((1, 3, 2, 2), 0.5), torch.full((1, 3, 2, 2), -1.0)
    assert torch.allclose(q_sample(y0, torch.tensor([0.6]), noise), torch.tensor(0.3 - 0.8))


def test_noisy_images_keep_unit_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    y0, noise = torch.randn((2, 64, 3, 32, 32), generator=generator)
    noisy = q_sample(y0, torch.rand(64, generator=generator), noise)
    assert float(noisy.var()) == pytest.approx(1, abs=0.01)


@given(st.integers(0, 19), st.integers(1, 20))
def test_levels_lie_in_the_window(start: int, length: int) -> None:
    schedule = NoiseSchedule.linear(20, 1e-3, 0.3)
    stop = min(20, start + length)
    levels = draw_levels(schedule, 50, start, stop).double()
    bounds = schedule.gammas.sqrt()
    assert (levels <= bounds[start] + 1e-7).all()
    assert (levels >= bounds[stop] - 1e-7).all()


def test_every_image_has_a_level_of_its_own_and_all_steps_occur() -> None:
    torch.manual_seed(0)
    schedule = NoiseSchedule.linear(4, 0.1, 0.4)
    levels = draw_levels(schedule, 400)
    assert len(levels.unique()) > 390
    bounds = schedule.gammas.sqrt().flip(0).float()
    counts = torch.bucketize(levels, bounds).bincount(minlength=5)[1:]
    assert (counts > 70).all()  # uniform over four steps: about 100 each


@pytest.mark.parametrize(("start", "stop"), [(5, 5), (-1, 3), (0, 21), (7, 6)])
def test_a_window_that_is_empty_or_outside_is_refused(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="window"):
        draw_levels(NoiseSchedule.linear(20), 1, start, stop)


@pytest.mark.parametrize("prediction", ["epsilon", "v", "x0"])
@pytest.mark.parametrize("target", ["image", "residual"])
def test_the_noise_comes_back_from_a_perfect_answer(prediction: Prediction, target: Target) -> None:
    torch.manual_seed(0)
    image, condition = torch.rand(2, 5, 3, 4, 4) * 2 - 1
    noise, level = torch.randn(5, 3, 4, 4), torch.tensor([0.05, 0.3, 0.6, 0.9, 0.99])
    parametrization = Parametrization(prediction, target)
    diffused = parametrization.encode(image, condition)
    answer = parametrization.output(diffused, noise, level)
    noisy = q_sample(diffused, level, noise)
    assert torch.allclose(parametrization.noise(answer, noisy, level), noise, atol=2e-5)
    assert torch.allclose(parametrization.decode(diffused, condition), image, atol=1e-6)


def test_velocity_by_hand() -> None:
    parametrization = Parametrization("v")
    one = torch.ones(1, 1, 1, 1)
    answer = parametrization.output(0.5 * one, 2 * one, torch.tensor([0.6]))
    assert float(answer) == pytest.approx(0.6 * 2 - 0.8 * 0.5)


def test_a_residual_needs_a_condition() -> None:
    with pytest.raises(ValueError, match="condition"):
        Parametrization(target="residual").encode(torch.zeros(1, 3, 2, 2), None)
