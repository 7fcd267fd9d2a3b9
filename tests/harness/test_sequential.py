"""Comparisons over several looks: boundaries, repeated intervals, verdicts, plans, and how often they are wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import sequential as bench
from hypothesis import given
from hypothesis import strategies as st
from present import present
from scipy import stats

from modbench.harness.stats import alpha_spending, group_sequential
from modbench.harness.stats import seeds_needed as plans
from modbench.harness.stats.alpha_spending import boundaries, spent
from modbench.harness.stats.group_sequential import look, schedule
from modbench.harness.stats.seeds_needed import Spread, inflation, planned, prospect, seeds_needed, seeds_to_decide

FOUR = (0.25, 0.5, 0.75, 1.0)
rising = st.lists(st.integers(1, 19), max_size=5, unique=True).map(lambda at: (*(i / 20 for i in sorted(at)), 1.0))


def critical_values(fractions: Sequence[float], level: float = 0.05) -> np.ndarray:
    """The boundaries as values of a normal statistic."""
    found: np.ndarray = stats.norm.isf(np.array(boundaries(fractions, level)) / 2)
    return found


@pytest.mark.parametrize(
    ("looks", "published"),
    [
        # As R's gsDesign prints them (sfLDOF, one side at 0.025, looks at even distances).
        (2, (2.9626, 1.9686)),
        (3, (3.7103, 2.5114, 1.9930)),
        (4, (4.332634, 2.963131, 2.359044, 2.014090)),
    ],
)
def test_boundaries_are_those_of_other_programs(looks: int, published: tuple[float, ...]) -> None:
    found = critical_values([number / looks for number in range(1, looks + 1)])
    assert found == pytest.approx(published, abs=5e-5)
    assert boundaries([1.0]) == pytest.approx((0.05,))


@pytest.mark.slow
@pytest.mark.parametrize("fractions", [(0.5, 1.0), (0.3, 0.45, 1.0), FOUR])
@pytest.mark.parametrize("level", [0.05, 0.1])
def test_the_share_spent_is_what_a_multivariate_normal_crosses(fractions: tuple[float, ...], level: float) -> None:
    edges, t = critical_values(fractions, level), np.array(fractions)
    correlations = np.sqrt(np.minimum.outer(t, t) / np.maximum.outer(t, t))
    for k in range(2, len(t) + 1):
        inside = stats.multivariate_normal.cdf(
            edges[:k], np.zeros(k), correlations[:k, :k], lower_limit=-edges[:k], abseps=1e-7, releps=1e-7
        )
        assert 1 - inside == pytest.approx(spent(fractions[k - 1], level), abs=2e-6)


@given(rising)
def test_each_look_alone_spends_less_than_all_together(fractions: tuple[float, ...]) -> None:
    found = boundaries(fractions)
    for share, p in zip(fractions, found, strict=True):
        assert 0 < p <= spent(share) * (1 + 1e-6)  # what crosses now for the first time, and now alone
    assert spent(1.0) == pytest.approx(0.05)
    assert all(narrow < wide for narrow, wide in zip(found, boundaries(fractions, 0.1), strict=True))
    edges = critical_values(fractions)
    again = alpha_spending.crossed(fractions, list(-edges), list(edges), 0.0)
    assert sum(map(sum, again)) == pytest.approx(0.05, rel=1e-6)


@pytest.mark.parametrize(
    ("fractions", "words"),
    [((), "rising"), ((0.5, 0.5), "rising"), ((0.5, 1.1), "at most 1"), ((0.01, 1.0), "cannot stop")],
)
def test_looks_that_make_no_sense_are_refused(fractions: tuple[float, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        boundaries(fractions)


def test_schedules() -> None:
    assert schedule(24, 4) == (6, 12, 18, 24)
    assert schedule(18, 4) == (5, 9, 14, 18)
    assert schedule(8, 4) == (4, 6, 8)
    assert schedule(3, 4) == (3,)
    assert schedule(24, 4, first=10) == (10, 12, 18, 24)
    with pytest.raises(ValueError, match="at least 3 seeds"):
        schedule(2)


@given(st.integers(3, 300), st.integers(1, 8), st.integers(3, 8))
def test_a_schedule_rises_to_its_total(total: int, looks: int, first: int) -> None:
    made = schedule(total, looks, first)
    assert made == tuple(sorted(set(made)))
    assert made[-1] == total
    assert len(made) <= looks
    assert made[0] >= min(total, first)


def test_the_interval_of_the_only_look_is_welchs_or_the_paired_t() -> None:
    mine, theirs = [1.0, 1.3, 0.9, 1.1, 1.6], [1.4, 1.5, 1.6, 1.45, 1.55]
    for paired, test in (
        (False, stats.ttest_ind(mine, theirs, equal_var=False)),
        (True, stats.ttest_rel(mine, theirs)),
    ):
        found = look(mine, theirs, 1, (1.0,), None, paired=paired)
        for level, ends in ((0.95, (found.low, found.high)), (0.9, (found.low90, found.high90))):
            assert ends == pytest.approx(tuple(test.confidence_interval(level)))
        assert found.difference == pytest.approx(np.mean(mine) - np.mean(theirs))
        assert found.freedom == pytest.approx(test.df)
        assert found.stop
        assert found.excludes_zero == (test.pvalue < 0.05)
    assert look(mine, theirs, 2, (0.5, 1.0), None, paired=False).level < boundaries((0.5, 1.0))[1]  # guarded
    first = look(mine, theirs, 1, FOUR, None, paired=False)
    later = look(mine, theirs, 3, FOUR, None, paired=False)
    assert present(first.low) < present(later.low)


def looked(difference: float, spread: float, margin: float | None, number: int = 4) -> group_sequential.Looked:
    theirs = [2.0 + spread * each for each in (-1, -0.5, 0, 0.5, 1, 0.2)]
    return look([difference + each for each in theirs], theirs, number, FOUR, margin, paired=False)


@pytest.mark.parametrize(
    ("difference", "spread", "margin", "verdict"),
    [
        (-0.5, 0.01, 0.1, "better"),
        (0.5, 0.01, 0.1, "worse"),
        (0.0, 0.01, 0.1, "equivalent"),
        (-0.05, 0.01, 0.1, "equivalent"),  # better by less than what matters
        (-0.05, 0.01, None, "better"),
        (0.0, 1.0, 0.1, "undecided"),
        (-0.1, 0.01, 0.1, "better"),  # the margin is inside its interval
    ],
)
def test_verdicts(difference: float, spread: float, margin: float | None, verdict: str) -> None:
    found = looked(difference, spread, margin)
    assert found.verdict == verdict
    assert found.excludes_zero == (difference != 0)
    assert found.stop  # it is the last look
    assert looked(difference, spread, margin, number=3).stop == (verdict != "undecided")


def test_too_few_seeds_have_no_interval_and_go_on() -> None:
    found = look([1.0, 1.1], [1.0, 1.2, 1.3], 1, FOUR, 0.1, paired=False)
    assert (found.verdict, found.stop, found.low) == ("undecided", False, None)
    assert look([1.0], [1.2], 4, FOUR, 0.1, paired=True).stop


def test_looks_that_cannot_be_are_refused() -> None:
    for arguments, words in (
        (([1.0] * 3, [1.0] * 4, 1, FOUR, None), "cannot be paired"),
        (([1.0] * 3, [1.0] * 3, 5, FOUR, None), "no look 5 of 4"),
        (([1.0] * 3, [1.0] * 3, 1, FOUR, 0.0), "margin must be above 0"),
        (([], [1.0] * 3, 1, FOUR, None), "cannot be paired"),
    ):
        with pytest.raises(ValueError, match=words):
            look(*arguments, paired=True)
    with pytest.raises(ValueError, match="no seed"):
        look([], [1.0], 1, FOUR, None, paired=False)


@given(st.lists(st.floats(-2, 2), min_size=3, max_size=9), st.floats(-5, 5), st.booleans(), st.integers(1, 4))
def test_turning_the_arms_round_turns_the_interval_round(
    noise: list[float], difference: float, paired: bool, number: int
) -> None:
    mine, theirs = [difference + each for each in noise], [each**2 for each in noise]
    one, other = (look(a, b, number, FOUR, 0.5, paired=paired) for a, b in ((mine, theirs), (theirs, mine)))
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-9)  # type: ignore[operator]
    assert {one.verdict, other.verdict} in ({"better", "worse"}, {"equivalent"}, {"undecided"})


def test_several_looks_err_no_more_often_than_one() -> None:
    """Two identical arms; a rule that allows 5 % at each look errs more than twice as often."""
    world = bench.World((4, 8, 12, 16))
    assert 0.03 < bench.shares(world, 1500).apart < 0.067
    assert 0.03 < bench.shares(replace(world, paired=True), 1000).apart < 0.07


@pytest.mark.proof
def test_differences_that_were_shown_early_are_too_large() -> None:
    """What the reports say of them."""
    assert bench.shares(bench.World(schedule(18), 0.95), 2500).above > 0.525


def test_a_plan_of_one_look_has_the_power_of_a_t_test() -> None:
    for n, sds in ((9, (1.0, 1.0)), (18, (2.0, 1.0))):
        freedom = group_sequential.welch_freedom([each**2 for each in sds], [n - 1] * 2)
        away = math.sqrt(n) / math.hypot(*sds)
        wanted = stats.nct.sf(stats.t.ppf(0.975, freedom), freedom, away)
        assert prospect((n,), 1.0, *sds).power == pytest.approx(wanted, abs=1e-4)
    # The pilot of the first sweep: a deviation of pairs of 0.031 nats, a difference of 0.022.
    assert prospect((9,), 0.022, 0, 0, paired_sd=0.031).power == pytest.approx(0.465, abs=0.002)


def test_the_power_of_several_looks_is_what_a_simulation_finds() -> None:
    total = present(seeds_needed(1, 1, 1.2))
    world = bench.World(schedule(total), 1.2)
    made, predicted = bench.shares(world, 1200), prospect(world.numbers, 1.2, 1, 1)
    assert 0.8 <= predicted.power < 0.86
    assert made.right == pytest.approx(predicted.power, abs=0.04)
    assert made.seeds == pytest.approx(predicted.seeds, rel=0.03)
    assert made.held > 0.94


def test_a_difference_as_large_as_the_margin_is_seldom_called_equivalent() -> None:
    made = bench.shares(bench.World(schedule(14), 1.0, margin=1.0), 1000)
    assert 0.02 < made.equivalent < 0.075


def test_fewer_seeds_are_not_enough() -> None:
    for margin in (0.7, 1.5):
        total = present(seeds_needed(1, 1, margin))
        assert prospect(schedule(total), margin, 1, 1).power >= 0.8 > prospect(schedule(total - 1), margin, 1, 1).power


@given(st.floats(0.3, 3), st.floats(0.3, 3))
def test_needs_grow_with_the_spread_and_shrink_with_the_margin(sd: float, margin: float) -> None:
    one, looks = present(seeds_needed(sd, sd, margin, looks=1)), present(seeds_needed(sd, sd, margin, looks=2))
    assert one <= looks + 1  # rounding of the looks
    assert (seeds_needed(2 * sd, sd, margin, looks=1) or math.inf) >= one
    assert (seeds_needed(sd, sd, margin / 2, looks=1) or math.inf) >= one
    assert (seeds_needed(2 * sd, 2 * sd, 2 * margin, looks=1)) == one
    assert (seeds_needed(sd, sd, margin, power=0.9, looks=1) or math.inf) >= one


def test_what_cannot_be_reached_is_none() -> None:
    assert seeds_needed(1, 1, 1e-3) is None
    assert seeds_needed(0, 0, 1e-3) == 3
    with pytest.raises(ValueError, match="above 0"):
        seeds_needed(1, 1, 0)


def test_seeds_that_would_decide() -> None:
    """Hardest in the middle between nothing and the margin; there nothing may be enough."""
    needed = [seeds_to_decide(difference, 1, 1, 1.0, looks=2) for difference in (0.0, 0.25, 0.5, 1.0, -1.0, 2.0)]
    assert None not in needed
    none, quarter, middle, margin, mirrored, twice = (each or 0 for each in needed)
    assert none < quarter < middle
    assert twice < margin == mirrored < middle
    assert margin == seeds_needed(1, 1, 1.0, looks=2)
    # Two one-sided tests without a difference: z(0.95) + z(0.9), on a variance of two.
    assert none == pytest.approx(2 * (1.645 + 1.282) ** 2, abs=2)
    for difference, total in ((0.25, quarter), (0.5, middle)):
        made = bench.shares(bench.World(schedule(total, 2), difference, margin=1.0), 1500)
        assert 0.76 < made.decided < 0.85
    assert seeds_to_decide(0.0, 1, 1, 1e-3) is None


@pytest.mark.parametrize("freedom", [2, 6, 20])
def test_a_plan_from_a_small_pilot_has_its_power_on_average(freedom: int) -> None:
    """Seeds in proportion to the estimated variance, a normal test: the mean over pilots by quadrature."""
    variances = stats.chi2.ppf((np.arange(4000) + 0.5) / 4000, freedom) / freedom
    whole = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    reached = [
        stats.norm.sf(1.959964 - factor * whole * np.sqrt(variances)).mean() for factor in (1.0, inflation(freedom))
    ]
    assert reached[1] == pytest.approx(0.8, abs=2e-3)
    assert reached[0] < 0.79
    assert inflation(math.inf) == 1


def test_a_pilot_is_planned_with() -> None:
    known = planned(Spread(1.0), None, 0.9)
    assert known.numbers == schedule(seeds_needed(1, 1, 0.9) or 0)
    assert (known.inflation, known.capped) == (1, False)
    small = planned(Spread(1.0, 4), None, 0.9)
    assert small.numbers[-1] == seeds_needed(small.inflation, small.inflation, 0.9)
    assert small.numbers[-1] > known.numbers[-1]
    # Two estimates of their own know more than one that serves for both.
    assert 1 < planned(Spread(1.0, 4), Spread(1.0, 4), 0.9).inflation == inflation(8) < small.inflation == inflation(4)
    pairs = planned(Spread(1.0, 4), None, 0.9, paired=True)
    assert pairs.numbers[-1] == seeds_needed(9, 9, 0.9, paired_sd=inflation(4))
    capped = planned(Spread(1.0, 4), None, 0.9, most=10)
    assert capped.numbers[-1] == 10
    assert capped.capped
    assert capped.power < 0.6
    assert planned(Spread(1.0, 4), None, 1e-3).numbers[-1] == plans.MOST_SEEDS
