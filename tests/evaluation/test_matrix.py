"""A worked example, by hand.

               a     b     c
bicubic      20.0  18.0  16.0
init         10.0  10.0  10.0
after a      24.0  17.0  15.0
after b      22.0  21.0  15.5
after c      21.0  21.5  19.0
"""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cl_sr.evaluation import ForgettingMatrix
from cl_sr.evaluation.matrix import from_csv, to_csv

ROWS = {
    "bicubic": (20.0, 18.0, 16.0),
    "init": (10.0, 10.0, 10.0),
    "a": (24.0, 17.0, 15.0),
    "b": (22.0, 21.0, 15.5),
    "c": (21.0, 21.5, 19.0),
}


def example(higher_is_better: bool = True) -> ForgettingMatrix:
    matrix = ForgettingMatrix("psnr", higher_is_better)
    for after, values in ROWS.items():
        for domain, value in zip("abc", values, strict=True):
            matrix.record(after, domain, value if higher_is_better else -value)
    return matrix


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_the_worked_example(higher_is_better: bool) -> None:
    matrix = example(higher_is_better)
    assert matrix.learnt == ["a", "b", "c"]
    assert matrix.previous == ["a", "b"]
    assert [matrix.backward_transfer(d) for d in "abc"] == [-3.0, 0.5, 0.0]
    assert matrix.mean_backward_transfer == -1.25
    assert [matrix.forgetting(d) for d in "ab"] == [3.0, -0.5]
    assert matrix.mean_forgetting == 1.25
    assert [matrix.learning_gain(d) for d in "abc"] == [14.0, 4.0, 3.5]
    assert [matrix.over_bicubic(d) for d in "abc"] == [1.0, 3.5, 3.0]


def test_forgetting_counts_from_the_best_row_even_before_a_domain_was_learnt() -> None:
    matrix = ForgettingMatrix("ssim")
    for after, value in (("a", 0.9), ("b", 0.7), ("c", 0.8)):
        matrix.record(after, "b", value)
    assert matrix.forgetting("b") == pytest.approx(0.1)
    assert matrix.backward_transfer("b") == pytest.approx(0.1)


def test_joint_learning_has_one_row_and_nothing_to_forget() -> None:
    matrix = ForgettingMatrix("psnr")
    for after, value in (("init", 10.0), ("a+b", 22.0)):
        matrix.record(after, "a", value)
        matrix.record(after, "b", value - 1)
    assert matrix.previous == []
    assert math.isnan(matrix.mean_forgetting)
    assert matrix.learning_gain("b") == 12.0


def test_a_run_that_has_only_begun() -> None:
    matrix = ForgettingMatrix("psnr")
    assert matrix.learnt == matrix.previous == matrix.domains == []
    assert math.isnan(matrix.backward_transfer("a"))
    matrix.record("bicubic", "a", 20.0)
    assert math.isnan(matrix.over_bicubic("a"))
    assert math.isnan(matrix.learning_gain("a"))


@given(
    st.dictionaries(
        st.sampled_from(["bicubic", "init", "celeba", "celeba+animef"]),
        st.dictionaries(st.sampled_from(["celeba", "df2k-ost"]), st.floats(-100, 100), min_size=1),
        min_size=1,
    )
)
def test_csv_and_back_is_exact(rows: dict[str, dict[str, float]]) -> None:
    matrix = ForgettingMatrix("lpips", higher_is_better=False, rows=rows)
    assert from_csv(to_csv([matrix]), {"lpips": False}) == [matrix]
