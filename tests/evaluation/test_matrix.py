"""A worked example, by hand.

               a     b     c
bicubic      20.0  18.0  16.0
init         10.0  10.0  10.0
after a      24.0  17.0  15.0
after b      22.0  21.0  15.5
after c      21.0  21.5  19.0
"""

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cl_sr.evaluation import ForgettingMatrix
from cl_sr.evaluation.matrix import (
    FORGETTING,
    FROM_BEST,
    GAIN,
    OVER_BICUBIC,
    from_csv,
    learnt_in,
    to_csv,
)

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
    # Just after learning it - final: 24 - 21, 21 - 21.5, 19 - 19.
    assert [matrix.forgetting(d) for d in "abc"] == [3.0, -0.5, 0.0]
    assert matrix.mean(FORGETTING) == 1.25
    # The best of all rows - final: b was best at the end.
    assert [matrix.forgetting_from_best(d) for d in "abc"] == [3.0, 0.0, 0.0]
    assert matrix.mean(FROM_BEST) == 1.5
    # Just after learning it - just after a: 24 - 10 (before training), 21 - 17, 19 - 15.
    assert [matrix.learning_gain(d) for d in "abc"] == [14.0, 4.0, 4.0]
    assert matrix.mean(GAIN) == 9.0
    assert [matrix.over_bicubic(d) for d in "abc"] == [1.0, 3.5, 3.0]
    assert matrix.mean(OVER_BICUBIC) == 2.25


def test_the_rows_between_which_every_figure_is() -> None:
    matrix = example()
    assert [matrix.ends(FORGETTING, d) for d in "abc"] == [("c", "a"), ("c", "b"), ("c", "c")]
    assert [matrix.ends(FROM_BEST, d) for d in "abc"] == [("c", "a"), ("c", "c"), ("c", "c")]
    assert [matrix.ends(GAIN, d) for d in "abc"] == [("init", "a"), ("a", "b"), ("a", "c")]
    assert [matrix.ends(OVER_BICUBIC, d) for d in "abc"] == [("bicubic", "c")] * 3
    assert matrix.last == "c"


def test_what_an_experience_spoils_of_a_domain_to_come_is_not_gained_by_learning_it() -> None:
    matrix = ForgettingMatrix("psnr")
    for after, value in (("init", 10.0), ("a", 17.0), ("b", 12.0), ("c", 19.0)):
        matrix.record(after, "c", value)
    assert matrix.learning_gain("c") == 2.0  # not 7: b had taken 5 of them


def test_forgetting_from_the_best_row_even_before_a_domain_was_learnt() -> None:
    matrix = ForgettingMatrix("ssim")
    for after, value in (("a", 0.9), ("b", 0.7), ("c", 0.8)):
        matrix.record(after, "b", value)
    assert matrix.forgetting_from_best("b") == pytest.approx(0.1)
    assert matrix.forgetting("b") == pytest.approx(-0.1)  # it became better


@given(st.lists(st.integers(-9, 9), min_size=9, max_size=9), st.booleans())
def test_no_domain_is_better_than_its_best(values: list[int], higher_is_better: bool) -> None:
    matrix = ForgettingMatrix("psnr", higher_is_better)
    for (after, domain), value in zip(product("abc", repeat=2), values, strict=True):
        matrix.record(after, domain, value)
    for domain in "abc":
        assert matrix.forgetting_from_best(domain) >= max(0, matrix.forgetting(domain))


def test_joint_learning_has_one_row_and_nothing_to_forget() -> None:
    matrix = ForgettingMatrix("psnr")
    for after, value in (("init", 10.0), ("a+b", 22.0)):
        matrix.record(after, "a", value)
        matrix.record(after, "b", value - 1)
    assert matrix.previous == []
    assert math.isnan(matrix.mean(FORGETTING))
    assert math.isnan(matrix.mean(FROM_BEST))
    assert matrix.learning_gain("b") == 12.0


def test_a_run_that_has_only_begun() -> None:
    matrix = ForgettingMatrix("psnr")
    assert matrix.learnt == matrix.previous == matrix.domains == []
    assert matrix.last == ""
    assert math.isnan(matrix.forgetting("a"))
    assert math.isnan(matrix.forgetting_from_best("a"))
    matrix.record("bicubic", "a", 20.0)
    assert math.isnan(matrix.over_bicubic("a"))
    assert math.isnan(matrix.learning_gain("a"))


def test_where_a_domain_was_learnt() -> None:
    assert learnt_in(["a", "b+c"], "c") == "b+c"
    assert learnt_in(["ab", "b"], "a") == ""


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
