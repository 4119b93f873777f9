"""Numbers of time-steps that are told without torch: the same as the tensors'."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cl_sr.diffusion import NoiseSchedule, Sampling
from cl_sr.diffusion.times import check_schedule, respaced

betas = st.floats(1e-9, 1 - 1e-9)


@given(st.sampled_from(["linear", "cosine"]), st.integers(1, 300), betas, betas)
def test_a_schedule_is_refused_where_its_tensors_would_be(
    kind: str, steps: int, start: float, end: float
) -> None:
    def made() -> None:
        if kind == "linear":
            NoiseSchedule.linear(steps, start, end)
        else:
            NoiseSchedule.cosine(steps)

    refusals = []
    for check in (lambda: check_schedule(kind, steps, start, end), made):
        try:
            check()
            refusals.append("")
        except ValueError as error:
            refusals.append(str(error))
    assert bool(refusals[0]) == bool(refusals[1])


@pytest.mark.parametrize(
    ("steps", "start", "end"), [(2000, 0.9, 0.9), (3, 1e-20, 1e-20), (2, 1e-17, 0.1)]
)
def test_schedules_that_are_none(steps: int, start: float, end: float) -> None:
    with pytest.raises(ValueError, match="strictly"):
        check_schedule("linear", steps, start, end)


@given(st.sampled_from([20, 100, 2000]), st.data())
def test_the_nearest_time_step_is_that_of_the_smallest_difference(
    steps: int, data: st.DataObject
) -> None:
    schedule = NoiseSchedule.linear(steps, 1e-4, 0.1 if steps < 1000 else 1e-2)
    levels = schedule.gammas.sqrt()
    t = torch.tensor(data.draw(st.lists(st.integers(1, steps), min_size=1, max_size=9)))
    assert schedule.nearest(levels[t].float()).tolist() == t.tolist()
    between = torch.tensor(data.draw(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=9)))
    found = schedule.nearest(between)
    distances = (levels[1:] - between.double()[:, None]).abs()
    reached = distances.gather(1, found[:, None] - 1)[:, 0]
    assert torch.allclose(reached, distances.min(dim=1).values, atol=1e-12)


@given(st.integers(1, 50), st.integers(1, 50))
def test_respaced_steps_go_from_the_last_to_none(total: int, steps: int) -> None:
    if steps > total:
        with pytest.raises(ValueError, match=rf"in 1\.\.{total}"):
            respaced(total, steps)
        return
    found = respaced(total, steps)
    assert (found[0], found[-1], len(found)) == (total, 0, steps + 1)
    assert sorted(set(found), reverse=True) == found


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        (Sampling("ddim", 21), r"in 1\.\.20"),
        (Sampling("ddim", 0), r"in 1\.\.20"),
        (Sampling("ddim", 5, eta=1.5), "eta=1.5"),
        (Sampling("ddnm", 21), r"in 1\.\.20"),
        (Sampling("ddnm", 5, travel_length=0), "at least 1"),
        (Sampling("ddnm", 5, travel_repeat=0), "at least 1"),
    ],
)
def test_sampling_that_a_schedule_does_not_allow(sampling: Sampling, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sampling.check(20)
    Sampling("ddnm", None).check(20)
