"""How many launches? The power of an advice, the error of a pilot, and what the whole rule detects and covers, by simulation."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
from launch_power import Design, advised, simulate
from present import present
from scipy import stats

from modbench.harness.domain.suite import TWO_STAGE
from modbench.harness.stats import effects, sample_size
from modbench.harness.stats.contrast import Rule, verdict
from modbench.harness.stats.effects import Effect

RUNS, MARGIN = 20_000, 0.02


@pytest.mark.parametrize("freedom", [2, 9, 400])
def test_power_is_that_of_the_non_central_t(freedom: int) -> None:
    shifts = np.array([-3.0, 0.0, 2.0, 5.0, 30.0, 50.0, 1e4, math.inf])
    found = sample_size.power(shifts, freedom, 0.025)
    wanted = [stats.nct.sf(stats.t.ppf(0.975, freedom), freedom, shift) for shift in shifts[:5]]
    assert found[:5] == pytest.approx(wanted, abs=1e-9)
    assert found[5:] == pytest.approx([1.0, 1.0, 1.0])


def test_what_never_differs_is_certain() -> None:
    assert (sample_size.told(0.01, 0.0, 3), sample_size.told(0.0, 0.0, 3)) == (1.0, 0.0)
    assert (sample_size.decided(0.0, 0.0, 3, MARGIN), sample_size.decided(0.0, 0.0, 3, 0.0)) == (1.0, 0.0)


def decide(effect: float, sd: float, n: int, margin: float) -> float:
    """Share of fresh runs that have a verdict: the rule of `contrast.verdict`, for many runs at once."""
    values_RN = np.random.default_rng(n).normal(effect, sd, (RUNS, n))
    means, errors = values_RN.mean(axis=1), values_RN.std(axis=1, ddof=1) / math.sqrt(n)
    wide, narrow = (stats.t.ppf(share, n - 1) * errors for share in (0.975, 0.95))
    return float(np.mean((abs(means) > wide) | (abs(means) + narrow < math.log1p(margin))))


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 3.0])
@pytest.mark.parametrize("sd", [0.01, 0.02, 0.04])
@pytest.mark.parametrize("margin", [MARGIN, 0.0])
def test_fresh_runs_of_the_advice_decide_in_80_of_100(share: float, sd: float, margin: float) -> None:
    """And with one launch fewer they do not; where launches are many, one more changes little."""
    effect = share * math.log1p(MARGIN)
    n = sample_size.to_decide(Effect(-effect, sd=sd, n=2), margin)
    if n is None:
        assert effect == margin == 0
        return
    reached = decide(effect, sd, n, margin)
    assert reached > 0.79
    assert n == sample_size.LEAST or decide(effect, sd, n - 1, margin) < 0.81
    assert reached < 0.85 or n < 10


@pytest.mark.parametrize("sd", [0.01, 0.02, 0.04])
def test_fresh_runs_show_what_lies_beyond_a_margin_or_a_limit_in_80_of_100(sd: float) -> None:
    distance = math.log1p(0.04) - math.log1p(MARGIN)
    n = present(sample_size.fewest(functools.partial(sample_size.told, distance, sd)))
    effects_RN = np.random.default_rng(0).normal(math.log1p(0.04), sd, (RUNS, n))
    ends = effects_RN.mean(axis=1) - stats.t.ppf(0.975, n - 1) * effects_RN.std(axis=1, ddof=1) / math.sqrt(n)
    assert 0.79 < np.mean(ends > math.log1p(MARGIN)) < (0.85 if n >= 10 else 1)
    assert sample_size.told(distance, sd, n - 1) < 0.8


def test_an_advice_from_few_launches_decides_less_surely() -> None:
    """Effect and spread are then estimates; after eight launches, those left undecided ask for enough."""
    (known, number), (few, _), (more, _) = (advised(n, math.log1p(0.01), 0.02, 300) for n in (0, 3, 8))
    assert 0.8 <= known < 0.85
    assert number == 13
    assert 0.55 < few < 0.75
    assert more > 0.8


def test_the_rule_that_is_simulated_is_that_of_a_verdict() -> None:
    values_RN = np.random.default_rng(6).normal(0.01, 0.01, (2000, 6))
    said = [
        verdict(effects.over_launches(row), Rule("time", MARGIN), None) != "inconclusive" for row in values_RN.tolist()
    ]
    assert np.mean(said) == pytest.approx(sample_size.decided(0.01, 0.01, 6, MARGIN), abs=0.03)


def test_the_number_is_the_smallest_and_above_what_was_made() -> None:
    chances = {n: min(1.0, n / 100) for n in range(1, 1001)}
    assert sample_size.fewest(chances.__getitem__) == 80
    assert sample_size.fewest(chances.__getitem__, 0.95) == 95
    assert sample_size.fewest(chances.__getitem__, least=90) == 90
    assert sample_size.fewest(chances.__getitem__, most=79) is None
    assert sample_size.fewest(chances.__getitem__, least=91, most=90) is None
    # An estimate may lie in the gap between two verdicts though as many launches as were made seldom leave it there.
    assert sample_size.to_decide(Effect(0.0, sd=0.01, n=30), MARGIN) == 31
    assert sample_size.to_decide(Effect(0.1), MARGIN) == 3  # no spread is known yet
    assert sample_size.to_decide(Effect(math.log1p(MARGIN), sd=0.5, n=3), MARGIN) is None


def test_arms_share_a_spread_unless_one_is_apart() -> None:
    rng = np.random.default_rng(0)
    alike = rng.normal(0, 0.01, (6, 8)).tolist()
    pooled = math.sqrt(float(np.mean(np.var(alike, axis=1, ddof=1))))
    assert sample_size.spread(alike) == pytest.approx(pooled)
    noisy = rng.normal(0, 0.1, 8).tolist()
    assert sample_size.spread([*alike, noisy]) == pytest.approx(np.std(noisy, ddof=1))


def test_the_pilot_is_between_least_and_most() -> None:
    rng = np.random.default_rng(0)
    quiet, loud = (rng.normal(0, sd, (3, 8)).tolist() for sd in (1e-5, 0.2))
    assert sample_size.number(quiet, mde=0.01, least=8, most=24).made == 8
    found = sample_size.number(loud, mde=0.01, least=8, most=24)
    assert found.made == 24
    assert found.asked == sample_size.MOST


@pytest.mark.slow
def test_a_pilot_asks_for_nothing_absurd_and_the_interval_covers() -> None:
    """The whole rule, stopping included, on small counts: 93 to 97 % within what 300 comparisons can tell; power near 80 %."""
    found = simulate(Design(8, 8, TWO_STAGE["standard"]), 300, sd=0.005, within=0.0145)
    assert 0.92 <= found.covered <= 0.98
    assert found.worse >= 0.75
    assert max(found.asked) <= 20
    assert 8 <= np.mean(found.made) <= 10
