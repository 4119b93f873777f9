import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from cl_sr.data.order import Passes, Seeded


def test_every_image_is_seen_before_any_twice() -> None:
    order = list(Passes(5, 0, 12, seed=0))
    assert [position for position, _ in order] == list(range(12))
    indices = [index for _, index in order]
    assert sorted(indices[:5]) == sorted(indices[5:10]) == [0, 1, 2, 3, 4]
    assert indices[:5] != indices[5:10]


@given(st.integers(1, 9), st.integers(0, 30), st.integers(0, 30), st.integers(0, 99))
def test_the_order_can_be_taken_up_anywhere(length: int, start: int, more: int, seed: int) -> None:
    whole = list(Passes(length, 0, start + more, seed))
    assert list(Passes(length, start, start + more, seed)) == whole[start:]
    assert len(Passes(length, start, start + more, seed)) == more


class Noisy:
    """A data set that draws, as random crops do."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> torch.Tensor:
        return index + torch.rand(())


@pytest.mark.parametrize("workers", [0, 2])
def test_random_changes_depend_on_the_position_alone(workers: int) -> None:
    def load(start: int, workers: int) -> torch.Tensor:
        order = Passes(4, start, 8, seed=3)
        return torch.cat(
            list(DataLoader(Seeded(Noisy(), 3), 2, sampler=order, num_workers=workers))
        )

    torch.manual_seed(0)
    whole = load(0, 0)
    torch.manual_seed(1)
    assert torch.equal(load(4, workers), whole[4:])
    assert len(set(whole.tolist())) == 8


def test_loading_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    Seeded(Noisy(), 0)[(5, 1)]
    assert torch.equal(before, torch.get_rng_state())
