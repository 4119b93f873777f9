import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cl_sr.diffusion import NoiseSchedule


def test_linear_levels_are_those_of_the_design_table() -> None:
    levels = NoiseSchedule.linear().gammas.sqrt()
    expected = {200: 0.951, 500: 0.732, 1000: 0.286, 1500: 0.060, 2000: 0.0066}
    for t, level in expected.items():
        assert float(levels[t]) == pytest.approx(level, abs=5e-4)


def test_from_betas_is_the_product_by_hand() -> None:
    schedule = NoiseSchedule.from_betas(torch.tensor([0.1, 0.2, 0.5]))
    assert schedule.gammas.tolist() == pytest.approx([1, 0.9, 0.72, 0.36])
    assert schedule.gammas.dtype == torch.float64


def test_cosine_follows_its_formula() -> None:
    schedule = NoiseSchedule.cosine(1000)
    f = [math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for t in (0, 400)]
    assert float(schedule.gammas[400]) == pytest.approx(f[1] / f[0])


@given(st.integers(1, 300), st.data())
def test_respacing_keeps_both_ends_and_never_repeats(total: int, data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, total))
    times = NoiseSchedule.linear(total, 1e-4, 0.02).respace(steps)
    assert len(times) == steps + 1
    assert times[0] == total
    assert times[-1] == 0
    assert all(a > b for a, b in pairwise(times))


def test_respacing_all_steps_is_the_trained_schedule() -> None:
    assert NoiseSchedule.linear(7).respace(None) == [7, 6, 5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize("steps", [0, 8])
def test_too_many_or_no_steps_are_refused(steps: int) -> None:
    with pytest.raises(ValueError, match=r"1\.\.7"):
        NoiseSchedule.linear(7).respace(steps)


@pytest.mark.parametrize("gammas", [[1.0], [0.9, 0.5], [1.0, 0.5, 0.5], [1.0, 0.0]])
def test_gammas_that_are_no_schedule_are_refused(gammas: list[float]) -> None:
    with pytest.raises(ValueError, match="gammas"):
        NoiseSchedule(torch.tensor(gammas, dtype=torch.float64))
