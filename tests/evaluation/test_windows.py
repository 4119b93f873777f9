"""The denoising error by window of time-steps."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cl_sr.diffusion import NoiseSchedule
from cl_sr.evaluation.windows import (
    WindowError,
    denoising_errors,
    errors_from_csv,
    errors_to_csv,
    growth,
    windows,
)

SCHEDULE = NoiseSchedule.linear(200, 1e-4, 0.05)


def images(count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, 8, 8, generator=generator) * 2 - 1


@given(st.integers(1, 5000))
def test_windows_are_all_time_steps_once(steps: int) -> None:
    found = windows(steps)
    assert 1 <= len(found) <= 5
    assert [t for start, stop in found for t in range(start + 1, stop + 1)] == list(
        range(1, steps + 1)
    )
    assert all(start < stop for start, stop in found)


def test_windows_are_those_of_the_paper() -> None:
    expected = [(0, 200), (200, 500), (500, 1000), (1000, 1500), (1500, 2000)]
    assert windows(2000) == expected


@pytest.mark.parametrize("scale", [1, 5])
@pytest.mark.parametrize("window", windows(200))
def test_a_perfect_denoiser_has_no_error(window: tuple[int, int], scale: int) -> None:
    """Whatever is diffused: an image, or a residual of another scale."""
    clean = scale * images()

    def perfect(noisy: Tensor, shown: Tensor | None, level: Tensor) -> Tensor:
        assert shown is None
        level = level.double()[:, None, None, None]
        return (noisy - level * clean) / (1 - level.square()).sqrt()

    found = denoising_errors(perfect, clean, SCHEDULE, window, seed=3)
    assert found.shape == (3,)
    assert found.dtype == torch.float64
    assert found.max() < 1e-7


@pytest.mark.parametrize("window", windows(200))
def test_one_that_finds_nothing_has_the_noises_variance(window: tuple[int, int]) -> None:
    """The mean square of n standard normal numbers is off 1 by sqrt(2 / n)."""
    image = images(40)
    found = denoising_errors(
        lambda noisy, *_: torch.zeros_like(noisy), image, SCHEDULE, window, seed=0
    )
    numbers = image[0].numel()
    assert ((found - 1).abs() < 5 * (2 / numbers) ** 0.5).all()
    assert abs(float(found.mean()) - 1) < 4 * (2 / (40 * numbers)) ** 0.5


@pytest.mark.parametrize("window", [*windows(200), (0, 1), (199, 200), (7, 9)])
def test_t_stays_inside_the_window_and_reaches_its_ends(window: tuple[int, int]) -> None:
    seen: list[Tensor] = []

    def look(noisy: Tensor, _: Tensor | None, level: Tensor) -> Tensor:
        seen.append(level)
        return noisy

    denoising_errors(look, images(600)[..., :2, :2], SCHEDULE, window, seed=1)
    levels = SCHEDULE.gammas.sqrt().float()
    t = (seen[0][:, None] - levels[None]).abs().argmin(1)
    assert torch.equal(levels[t], seen[0])
    assert (int(t.min()) > window[0]) & (int(t.max()) <= window[1])
    length = window[1] - window[0]
    assert len(t.unique()) >= min(length, 40)


def test_the_same_seed_gives_the_same_numbers_whatever_was_drawn_before() -> None:
    image = images()

    def error(seed: int) -> Tensor:
        torch.rand(7)
        return denoising_errors(lambda noisy, *_: 0.5 * noisy, image, SCHEDULE, (20, 50), seed)

    state = torch.get_rng_state()
    first = error(4)
    torch.set_rng_state(state)
    torch.rand(7)
    expected = torch.rand(1)
    torch.set_rng_state(state)
    assert torch.equal(error(4), first)
    assert torch.equal(torch.rand(1), expected)  # the global generator was left alone
    assert not torch.equal(error(5), first)


NAMES = st.from_regex(r"[a-z0-9+-]{1,12}", fullmatch=True)


@given(
    st.lists(
        st.builds(
            WindowError,
            NAMES,
            NAMES,
            st.integers(0, 10**6),
            st.integers(1, 10**6),
            st.floats(0, 1e300),
        )
    )
)
def test_a_table_is_read_as_it_was_written(errors: list[WindowError]) -> None:
    assert list(errors_from_csv(errors_to_csv(errors))) == errors


def test_the_table_by_hand() -> None:
    text = errors_to_csv([WindowError("celeba+animef", "celeba", 0, 200, 0.125)])
    assert text == "after,domain,start,stop,error\nceleba+animef,celeba,0,200,0.125\n"


def test_growth_by_hand() -> None:
    assert growth(0.2, 0.1) == pytest.approx(3.0103, abs=1e-4)
    assert growth(0.1, 0.2) == -growth(0.2, 0.1)
    for now, then in ((None, 0.1), (0.1, None), (0.1, 0.0)):
        assert math.isnan(growth(now, then))
