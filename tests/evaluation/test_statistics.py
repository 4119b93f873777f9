"""Confidence intervals, against scipy's bootstrap and by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap

from cl_sr.evaluation.matrix import ForgettingMatrix
from cl_sr.evaluation.statistics import Estimate, difference, mean, ratio


def test_a_mean_has_the_interval_of_scipys_percentile_bootstrap() -> None:
    values = np.random.default_rng(0).normal(20, 3, 200)
    figure = mean({"a": values})
    theirs = bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", random_state=1
    ).confidence_interval
    assert figure.value == pytest.approx(values.mean())
    assert figure.low == pytest.approx(theirs.low, abs=0.06)
    assert figure.high == pytest.approx(theirs.high, abs=0.06)


def test_the_interval_of_two_domains_is_that_of_independent_means() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.normal(0, 3, 400), rng.normal(10, 4, 400)
    figure = mean({"a": one, "b": two})
    assert figure.value == pytest.approx((one.mean() + two.mean()) / 2)
    error = math.sqrt(one.var() / 400 + two.var() / 400) / 2
    assert (figure.high - figure.low) / 2 == pytest.approx(1.96 * error, rel=0.08)


def test_a_ratio_is_paired() -> None:
    values = np.random.default_rng(0).normal(5, 2, 50)
    figure = ratio({"a": 0.8 * values}, {"a": values})
    assert (figure.low, figure.value, figure.high) == pytest.approx((0.8, 0.8, 0.8))


def test_a_ratio_to_what_may_be_none_is_not_defined() -> None:
    values = np.random.default_rng(0).normal(0.1, 2, 50)
    assert math.isnan(ratio({"a": values}, {"a": values}).value)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=20))
def test_a_sign_turns_the_interval_over(values: list[float]) -> None:
    images = {"a": np.asarray(values)}
    up, down = mean(images), mean(images, -1)
    if len(values) == 1:  # one image tells nothing of others
        assert math.isnan(up.low)
        return
    assert (down.low, down.value, down.high) == pytest.approx((-up.high, -up.value, -up.low))
    assert up.low <= up.value + 1e-9
    assert up.value <= up.high + 1e-9


def test_text() -> None:
    assert Estimate(1.234, 1.0, 1.5).text(2) == "1.23 ± 0.25"
    assert Estimate(1.234).text(1, sign=True, unit=" dB") == "+1.2 dB"
    assert Estimate(math.nan).text(2) == "-"
    assert Estimate(-0.001, -0.002, 0.0).text(2, sign=True) == "+0.00 ± 0.00"
    assert Estimate(1.83, 1.11, 8.61).text(2) == "1.83 [1.11, 8.61]"
    assert Estimate(0.98, 0.95, 1.01).percent() == "98 ± 3 %"


def matrix() -> ForgettingMatrix:
    found = ForgettingMatrix("psnr")
    for after, values in {"a": (24.0, 15.0), "b": (22.0, 18.0)}.items():
        for domain, value in zip("ab", values, strict=True):
            found.record(after, domain, value)
    return found


def test_a_difference_is_paired_where_the_images_are_known() -> None:
    images = {("a", "a"): {"psnr": [23.0, 25.0]}, ("b", "a"): {"psnr": [21.5, 22.5]}}
    found = difference(matrix(), images, {"a": ("a", "b")})
    # The two images lost 1.5 and 2.5 dB; a resampling has either alone with a chance of 1/4.
    assert (found.value, found.low, found.high) == (-2.0, -2.5, -1.5)
    for unknown in ({}, images | {("b", "a"): {"psnr": [22.0]}}):
        alone = difference(matrix(), unknown, {"a": ("a", "b")})
        assert alone.value == -2.0
        assert math.isnan(alone.low)


def test_a_difference_of_two_domains_is_the_mean_of_theirs() -> None:
    assert difference(matrix(), {}, {"a": ("a", "b"), "b": ("a", "b")}).value == 0.5
    assert math.isnan(difference(matrix(), {}, {"a": ("a", "b"), "b": ("init", "b")}).value)
