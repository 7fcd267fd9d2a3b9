"""The compute-equivalent gain from the fall of a loss, and the interval of where a line of estimates reaches 0."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from present import present

from modbench.harness.stats.fieller import Line
from modbench.plugins.sweeps.gain.statistics import FLAT, Fall, from_fall


def test_a_loss_that_falls_by_a_tenth_with_every_e_fold_buys_an_e_fold_for_a_tenth() -> None:
    found = from_fall(-0.1, 0.02, Fall(0.1, 0.01))
    assert found.value == pytest.approx(math.e)
    assert present(found.low) < math.e < present(found.high)


def test_with_a_known_fall_the_interval_is_that_of_the_difference() -> None:
    found = from_fall(-0.1, 0.02, Fall(0.1, 0.0))
    assert found.low == pytest.approx(math.exp(0.8))
    assert found.high == pytest.approx(math.exp(1.2))


@pytest.mark.parametrize("fall", [Fall(0.1, 0.11), Fall(0.1, 0.1), Fall(-0.1, 0.01), Fall(0.0, 0.0)])
def test_a_loss_that_may_not_fall_has_no_price(fall: Fall) -> None:
    found = from_fall(-0.1, 0.02, fall)
    assert found.value is None
    assert found.reason == FLAT


def test_without_an_interval_of_the_difference_there_is_none_of_the_speed_up() -> None:
    found = from_fall(-0.1, None, Fall(0.1, 0.01))
    assert (found.low, found.high) == (None, None)
    assert found.value is not None


@given(st.floats(-0.5, 0.5), st.floats(0.001, 0.2), st.floats(0.01, 1.0), st.floats(0.0, 0.9))
def test_the_interval_holds_the_value_and_no_difference_is_no_speed_up(
    difference: float, half: float, per_fold: float, unsure: float
) -> None:
    found = from_fall(difference, half, Fall(per_fold, per_fold * unsure))
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value * (1 + 1e-9)
    assert found.value <= found.high * (1 + 1e-9)
    # The interval leaves 1 out where that of the difference leaves 0 out, and nowhere else.
    assert (found.low > 1 or found.high < 1) == (abs(difference) > half)


def test_the_interval_holds_the_truth_in_95_of_100_cases() -> None:
    rng, held = np.random.default_rng(0), 0
    truth, sd, fall, fall_sd = -0.05, 0.01, 0.12, 0.015
    for _ in range(4000):
        difference, per_fold = rng.normal(truth, sd), rng.normal(fall, fall_sd)
        found = from_fall(difference, 1.96 * sd, Fall(per_fold, 1.96 * fall_sd))
        held += present(found.low) <= math.exp(-truth / fall) <= present(found.high)
    assert held / 4000 == pytest.approx(0.95, abs=0.012)


def test_a_loss_that_hardly_falls_makes_no_factor_beyond_all_numbers() -> None:
    for sign in (-1, 1):
        found = from_fall(sign * 0.5, 0.01, Fall(1e-5, 1e-6))
        assert found.value is None
        assert found.reason is not None
    open_above = from_fall(-0.1, 0.02, Fall(0.1, 0.1 - 1e-9))
    assert open_above.value == pytest.approx(math.e)
    assert open_above.high is None


# --- where a line reaches 0

NUMBERS = st.floats(-10, 10)
ERRORS = st.floats(0.01, 5)


@given(NUMBERS, NUMBERS, ERRORS, ERRORS, st.floats(-0.95, 0.95), st.floats(1, 5))
def test_at_the_edges_a_test_begins_to_tell_the_line_from_0(
    start: float, slope: float, error: float, slope_error: float, correlation: float, quantile: float
) -> None:
    line = Line(start, slope, error**2, correlation * error * slope_error, slope_error**2)

    def told(place: float) -> bool:
        variance = error**2 + 2 * place * line.covariance + place**2 * slope_error**2
        return abs(start + place * slope) > quantile * math.sqrt(variance)

    # Where the two places are one, the estimate is as large as its margin there and nowhere larger.
    a = slope**2 - (quantile * slope_error) ** 2
    b = start * slope - quantile**2 * line.covariance
    assume(abs(b * b - a * (start**2 - (quantile * error) ** 2)) > 1e-9)
    edges = line.edges(quantile)
    for edge in edges:
        step = 1e-4 * (1 + abs(edge)) if len(edges) < 2 else 1e-4 * min(1 + abs(edge), abs(edges[0] - edges[1]))
        if step > 1e-9:
            assert told(edge - step) != told(edge + step)
    found = line.interval(quantile)
    assert (found is None) == (abs(slope) <= quantile * slope_error)
    if found is not None:
        assert found[0] <= -start / slope <= found[1]
        assert not told((found[0] + found[1]) / 2)


def test_what_does_not_vary_has_one_place() -> None:
    assert Line(-1.0, 2.0, 0.0, 0.0, 0.0).interval(2.0) == (0.5, 0.5)
    assert Line(0.0, 2.0, 0.0, 0.0, 0.0).interval(2.0) == (0.0, 0.0)
    assert Line(1.0, 0.0, 0.0, 0.0, 0.0).interval(2.0) is None


def test_with_one_quantile_halving_finds_the_root_of_the_quadratic() -> None:
    line = Line(-0.5, 1.0, 0.01, -0.01, 0.02)
    low, high = line.interval(2.0) or (None, None)
    assert line.reached(lambda _: 2.0, 1) == pytest.approx(low)
    # From the other side the lower end falls to 0.
    turned = Line(0.5, -1.0, 0.01, -0.01, 0.02)
    assert high is not None
    assert turned.reached(lambda _: 2.0, -1) == pytest.approx(1 - high)
