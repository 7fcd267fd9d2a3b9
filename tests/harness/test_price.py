"""What a difference of losses is worth in compute, and the interval of that."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modbench.harness.stats.compute_equivalent import Fall, worth


def test_a_loss_that_falls_by_a_tenth_with_every_e_fold_buys_an_e_fold_for_a_tenth() -> None:
    found = worth(-0.1, -0.12, -0.08, Fall(0.1, 0.09, 0.11))
    assert found.value == pytest.approx(math.e)
    assert found.low is not None
    assert found.high is not None
    assert found.low < math.e < found.high


def test_with_a_known_fall_the_interval_is_that_of_the_difference() -> None:
    found = worth(-0.1, -0.12, -0.08, Fall(0.1, 0.1, 0.1))
    assert found.low == pytest.approx(math.exp(0.8))
    assert found.high == pytest.approx(math.exp(1.2))


def test_a_loss_that_may_not_fall_has_no_price() -> None:
    found = worth(-0.1, -0.12, -0.08, Fall(0.1, -0.01, 0.21))
    assert found.value is None
    assert found.reason is not None
    assert "does not fall" in found.reason


def test_without_an_interval_of_the_difference_there_is_none_of_its_worth() -> None:
    found = worth(-0.1, None, None, Fall(0.1, 0.09, 0.11))
    assert (found.low, found.high) == (None, None)
    assert found.value is not None


@given(st.floats(-0.5, 0.5), st.floats(0.001, 0.2), st.floats(0.01, 1.0), st.floats(0.0, 0.9))
def test_the_interval_holds_the_value_and_no_difference_is_worth_the_same_compute(
    difference: float, half: float, per_fold: float, unsure: float
) -> None:
    found = worth(difference, difference - half, difference + half, _fall(per_fold, unsure))
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value * (1 + 1e-9)
    assert found.value <= found.high * (1 + 1e-9)
    # The interval leaves 1 out where that of the difference leaves 0 out, and nowhere else.
    assert (found.low > 1 or found.high < 1) == (abs(difference) > half)


def _fall(value: float, unsure: float) -> Fall:
    return Fall(value, value * (1 - unsure), value * (1 + unsure))


def test_the_interval_holds_the_truth_in_95_of_100_cases() -> None:
    rng, held = np.random.default_rng(0), 0
    truth, sd, fall, fall_sd = -0.05, 0.01, 0.12, 0.015
    for _ in range(4000):
        difference, per_fold = rng.normal(truth, sd), rng.normal(fall, fall_sd)
        found = worth(
            difference,
            difference - 1.96 * sd,
            difference + 1.96 * sd,
            Fall(per_fold, per_fold - 1.96 * fall_sd, per_fold + 1.96 * fall_sd),
        )
        assert found.low is not None
        assert found.high is not None
        held += found.low <= math.exp(-truth / fall) <= found.high
    assert held / 4000 == pytest.approx(0.95, abs=0.012)


def test_a_loss_that_hardly_falls_makes_no_factor_beyond_all_numbers() -> None:
    for sign in (-1, 1):
        found = worth(sign * 0.5, sign * 0.5 - 0.01, sign * 0.5 + 0.01, Fall(1e-5, 0.9e-5, 1.1e-5))
        assert found.value is None
        assert found.reason is not None
    open_above = worth(-0.1, -0.12, -0.08, Fall(0.1, 1e-9, 0.2 - 1e-9))
    assert open_above.value == pytest.approx(math.e)
    assert open_above.high is None
