"""How many launches? The formula, its error from a pilot, and what the whole rule detects and covers, by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from launch_power import Design, designs, simulate

from modbench.harness.domain.efforts import TWO_STAGE
from modbench.harness.planning.load_suite import load_suite
from modbench.harness.stats import effects, sample_size


def test_the_number_is_the_smallest_that_detects_what_is_wanted() -> None:
    for sd, mde in ((0.01, 0.01), (0.004, 0.005), (0.03, 0.02)):
        n = sample_size.launches_for(sd, mde)
        reached = [effects.t_quantile(0.975, k) + effects.t_quantile(0.8, k) for k in (n - 1, n)]
        assert reached[1] * sd / math.sqrt(n) <= math.log1p(mde) < reached[0] * sd / math.sqrt(n - 1)
    assert sample_size.launches_for(0.0, 0.01) == 2


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
    assert found.asked == sample_size.MOST_ASKED


@pytest.mark.slow
def test_a_pilot_asks_for_nothing_absurd_and_the_interval_covers() -> None:
    """The whole rule, stopping included, on small counts: 93 to 97 % within what 300 comparisons can tell; power near 80 %."""
    found = simulate(Design(8, 8, TWO_STAGE["standard"]), 300, sd=0.005, within=0.0145)
    assert 0.92 <= found.covered <= 0.98
    assert found.worse >= 0.75
    assert max(found.asked) <= 20
    assert 8 <= np.mean(found.made) <= 10


@pytest.mark.slow
def test_many_short_launches_detect_what_few_long_ones_miss() -> None:
    """Quick detects at least twice as much as its earlier three launches of six rounds; draft three times its earlier 3 x 20."""
    quick = load_suite("quick").protocol_size
    power = {
        size: simulate(Design(*size, arms=1), 400, sd=0.005, within=0.0145).worse
        for size in ((3, 6), (3, 20), (10, 6), quick)
    }
    assert power[quick] >= 2 * power[3, 6]
    assert power[10, 6] >= 2.5 * power[3, 20]
    assert power[10, 6] >= 0.8


def test_every_design_of_the_table_is_simulated() -> None:
    assert all(len(simulate(design, 2, sd=0.005, within=0.0145).made) == 2 for design in designs().values())
