"""Statistics against closed forms, published tables and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from modbench.harness.blocks import differences
from modbench.harness.stats import Effect, median_interval, over_launches
from modbench.harness.verdicts import exact_verdict, verdict

MARGIN = 0.02


def test_t_interval_of_three_launches_by_hand() -> None:
    """Values 1, 2, 3: mean 2, s = 1, t(0.975, 2) = 4.302653 and t(0.8, 2) = 1.060660 from tables."""
    effect = over_launches([1.0, 2.0, 3.0])
    assert effect.value == 2
    assert effect.high == pytest.approx(2 + 4.302653 / math.sqrt(3), rel=1e-6)
    assert effect.low == pytest.approx(2 - 4.302653 / math.sqrt(3), rel=1e-6)
    assert effect.high90 == pytest.approx(2 + 2.919986 / math.sqrt(3), rel=1e-6)
    assert effect.mde == pytest.approx((4.302653 + 1.060660) / math.sqrt(3), rel=1e-5)


def test_two_launches_give_no_interval_and_say_why() -> None:
    effect = over_launches([0.1, 0.2])
    assert (effect.low, effect.high, effect.mde) == (None, None, None)
    assert effect.reason is not None
    assert "too few" in effect.reason


def test_one_launch_is_labelled_within_launch_only() -> None:
    effect = over_launches([0.5], within=[0.1 * i for i in range(12)])
    assert effect.low == pytest.approx(0.2)  # third of twelve: the binomial interval of the median
    assert effect.high == pytest.approx(0.9)
    assert effect.reason is not None
    assert "within-launch only" in effect.reason
    assert over_launches([0.5], within=[0.1, 0.2, 0.3]).low is None


@pytest.mark.parametrize("n", [6, 9, 12, 20, 33])
def test_median_interval_holds_its_level_by_the_binomial(n: int) -> None:
    """P(interval holds the median) is a binomial sum: at least 95 %, and not without need."""
    interval = median_interval(list(range(n)))
    assert interval is not None
    rank = int(interval[0]) + 1
    assert 1 - 2 * scipy_stats.binom.cdf(rank - 1, n, 0.5) >= 0.95
    assert 1 - 2 * scipy_stats.binom.cdf(rank, n, 0.5) < 0.95


@pytest.mark.parametrize("launches", [3, 5, 10])
def test_coverage_with_launch_effects(launches: int) -> None:
    """Launches differ by more than their blocks: the interval over launches still holds 95 %."""
    rng = np.random.default_rng(7)
    held, repeats = 0, 2000
    for _ in range(repeats):
        effects = [np.median(rng.normal(rng.normal(0.05, 0.013), 0.01, 20)) for _ in range(launches)]
        effect = over_launches([float(e) for e in effects])
        assert effect.low is not None
        assert effect.high is not None
        held += effect.low <= 0.05 <= effect.high
    assert 0.93 <= held / repeats <= 0.97


def test_block_difference_cancels_linear_drift() -> None:
    """A machine that slows by 1 % a visit: arm and anchor, there and back, still differ by exactly their factor."""
    order = ["anchor", "arm", "arm", "anchor"]
    drift = [1.01**i for i in range(4)]
    samples: dict[str, dict[str, list[float]]] = {n: {"block": [], "wall_s": []} for n in ("anchor", "arm")}
    for name, factor in zip(order, drift, strict=True):
        samples[name]["block"].append(0)
        samples[name]["wall_s"].append(factor * (1.3 if name == "arm" else 1.0))
    (d,) = differences(samples["arm"], samples["anchor"]).values()
    assert d == pytest.approx(math.log(1.3))


def test_only_shared_blocks_are_paired() -> None:
    anchor: dict[str, list[float]] = {"block": [0, 0, 1, 1], "wall_s": [1.0, 1.0, 2.0, 2.0]}
    arm: dict[str, list[float]] = {"block": [1, 1], "wall_s": [4.0, 4.0]}
    assert differences(arm, anchor) == {1: pytest.approx(math.log(2))}


@pytest.mark.parametrize(
    ("low", "high", "low90", "high90", "word"),
    [
        (0.03, 0.05, 0.031, 0.049, "better"),
        (-0.05, -0.03, -0.049, -0.031, "worse"),
        (-0.01, 0.012, -0.008, 0.01, "equivalent"),
        (0.005, 0.015, 0.006, 0.014, "equivalent"),
        (0.01, 0.05, 0.012, 0.048, "different"),
        (-0.01, 0.05, -0.005, 0.045, "inconclusive"),
    ],
)
def test_verdicts(low: float, high: float, low90: float, high90: float, word: str) -> None:
    assert verdict(Effect((low + high) / 2, low, high, low90, high90), MARGIN) == word


def test_no_interval_is_no_verdict() -> None:
    assert verdict(Effect(0.5), MARGIN) == "inconclusive"


@given(st.lists(st.floats(-2, 2), min_size=3, max_size=12))
def test_swapping_the_arms_mirrors_effect_and_verdict(values: list[float]) -> None:
    """better and worse are symmetric on the log scale."""
    here, there = over_launches(values), over_launches([-v for v in values])
    assert here.value == pytest.approx(-there.value, abs=1e-12)
    swap = {"better": "worse", "worse": "better"}
    assert verdict(there, MARGIN) == swap.get(verdict(here, MARGIN), verdict(here, MARGIN))


@pytest.mark.parametrize(
    ("ratio", "word"), [(1.03, "better"), (1.01, "equivalent"), (0.99, "equivalent"), (0.9, "worse")]
)
def test_exact_verdicts(ratio: float, word: str) -> None:
    assert exact_verdict(ratio, MARGIN) == word
