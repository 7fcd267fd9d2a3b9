"""Counts of solved tasks: the exact test against scipy and closed forms, its errors by enumeration, what seeds can decide."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from present import present
from scipy import stats

from modbench.harness.core.contracts import Task
from modbench.harness.registry import catalogue
from modbench.harness.stats.effects import POWER
from modbench.plugins.tasks import exact_two_proportions, solved
from modbench.plugins.tasks.seed_sets import SeedSets

SIZES = [(n, n) for n in range(2, 11)] + [(3, 5), (4, 9), (7, 10)]


def chances(n: int, rate: float) -> np.ndarray:
    return np.asarray(stats.binom.pmf(np.arange(n + 1), n, rate))


@pytest.mark.parametrize(("mine", "n", "other", "other_n"), [(0, 5, 5, 5), (2, 12, 9, 12), (1, 6, 4, 8), (3, 4, 4, 4)])
def test_the_p_value_is_that_of_scipys_barnard_test(mine: int, n: int, other: int, other_n: int) -> None:
    wanted = stats.barnard_exact([[mine, other], [n - mine, other_n - other]], n=128).pvalue
    assert exact_two_proportions.p_values(n, other_n)[mine, other] == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize("n", range(2, 13))
def test_none_against_all_has_a_closed_form(n: int) -> None:
    """Both orders, at a common rate of one half: 2 / 4**n. Fisher's test, which fixes the margins, gives more."""
    found = exact_two_proportions.compare(0, n, n, n)
    assert found.p == pytest.approx(2 / 4**n)
    assert (found.value, found.low) == (-1.0, -1.0)
    assert found.p < stats.fisher_exact([[0, n], [n, 0]])[1]


@pytest.mark.slow
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("level", [0.05, 0.05 / 3, 0.05 / 6])
def test_equal_variants_are_told_apart_at_most_as_often_as_the_level_says(sizes: tuple[int, int], level: float) -> None:
    """Exact, over all tables, at rates between those that the p-value looked at."""
    told = exact_two_proportions.p_values(*sizes) <= level
    rates_R1 = np.linspace(0.0005, 0.9995, 1001)[:, None]  # all at once: a call of scipy for each rate takes a second
    mine_RN, other_RN = (stats.binom.pmf(np.arange(n + 1), n, rates_R1) for n in sizes)
    errors_R = ((mine_RN @ told) * other_RN).sum(1)
    assert errors_R.max() <= level + 1e-4 * level


@pytest.mark.parametrize("together", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("n", [4, 6, 9])
def test_seeds_that_succeed_together_make_it_stricter(n: int, together: float) -> None:
    """Equal rates and a positive correlation of the two variants' successes by seed: all tables of four outcomes per seed."""
    told = exact_two_proportions.p_values(n, n) <= 0.05
    worst = 0.0
    for rate in np.linspace(0.05, 0.5, 10):
        both = rate**2 + together * rate * (1 - rate)
        each = [both, rate - both, rate - both, 1 - 2 * rate + both]
        error = sum(
            stats.multinomial.pmf([a, b, c, n - a - b - c], n, each)
            for a in range(n + 1)
            for b in range(n + 1 - a)
            for c in range(n + 1 - a - b)
            if told[a + b, a + c]
        )
        worst = max(worst, float(error))
    independent = max(chances(n, rate) @ told @ chances(n, rate) for rate in np.linspace(0.05, 0.5, 10))
    assert worst < independent <= 0.05


@pytest.mark.slow
def test_the_interval_excludes_no_difference_where_the_test_does() -> None:
    for n, other_n in ((3, 3), (5, 5), (6, 4)):
        for mine in range(n + 1):
            for other in range(other_n + 1):
                found = exact_two_proportions.compare(mine, n, other, other_n)
                assert found.low is not None
                assert found.high is not None
                assert found.low <= found.value <= found.high
                assert (found.low > 0 or found.high < 0) == (present(found.p) <= 0.05), (mine, n, other, other_n)


def test_the_interval_holds_the_true_difference_in_95_of_100_runs() -> None:
    """Exact, over all tables of six seeds each."""
    n = 6
    ends = [[exact_two_proportions.compare(mine, n, other, n) for other in range(n + 1)] for mine in range(n + 1)]
    for rate, other_rate in ((0.5, 0.5), (0.9, 0.3), (0.66, 0.05), (0.2, 0.95), (0.35, 0.6)):
        truth = rate - other_rate
        holds = np.array([[each.low <= truth <= each.high for each in row] for row in ends])  # type: ignore[operator]
        assert chances(n, rate) @ holds @ chances(n, other_rate) >= 0.95


def test_it_finds_more_than_the_tests_of_fisher_and_mcnemar() -> None:
    """Why it was chosen: at nine seeds, two of three runs against none, independent by seed."""
    n, rates = 9, (2 / 3, 0.0)
    fisher = np.array([[stats.fisher_exact([[a, n - a], [b, n - b]])[1] for b in range(n + 1)] for a in range(n + 1)])
    mine = exact_two_proportions.power(n, *rates, 0.05 / 3)
    assert mine == pytest.approx(
        chances(n, rates[0]) @ (exact_two_proportions.p_values(n, n) <= 0.05 / 3) @ chances(n, rates[1])
    )
    assert mine > POWER > chances(n, rates[0]) @ (fisher <= 0.05 / 3) @ chances(n, rates[1])
    # Against none every pair that differs differs in one direction: McNemar's p is 2 / 2**k.
    assert sum(chances(n, rates[0])[k] for k in range(n + 1) if 2 / 2**k <= 0.05 / 3) < POWER


def test_seeds_needed_have_the_power_and_fewer_do_not() -> None:
    for rates in ((0.0, 1.0), (0.1, 0.9), (0.2, 0.8), (2 / 3, 0.0)):
        n = present(exact_two_proportions.seeds_needed(*rates, 0.05 / 3))
        assert (
            exact_two_proportions.power(n, *rates, 0.05 / 3)
            >= POWER
            > exact_two_proportions.power(n - 1, *rates, 0.05 / 3)
        )
    assert exact_two_proportions.seeds_needed(0.5, 0.5) is None
    assert exact_two_proportions.seeds_needed(0.5, 0.52) is None


def test_three_seeds_decide_nothing_among_several_variants() -> None:
    found = solved.decidable(3, 6)
    assert found.from_none is found.symmetric is None
    assert (found.seeds, found.pairs, found.needed[0.0, 1.0]) == (3, 6, 4)
    assert [found.smallest_p, found.level] == pytest.approx([2 / 4**3, 0.05 / 6])


def test_more_seeds_say_which_rates_they_tell_apart() -> None:
    found = solved.decidable(12, 3)
    assert found.from_none is not None
    assert found.symmetric is not None
    level = solved.level_among(3)
    assert (
        exact_two_proportions.power(12, 0.0, found.from_none, level)
        >= POWER
        > exact_two_proportions.power(12, 0.0, found.from_none - 0.01, level)
    )
    assert (
        exact_two_proportions.power(12, 0.18, 0.82, level) < POWER <= exact_two_proportions.power(12, 0.17, 0.83, level)
    )
    assert (found.seeds, found.pairs, found.from_none) == (12, 3, 0.5)


def test_a_first_look_of_two_decides_less() -> None:
    first = SeedSets((tuple(range(12)),), planned=2).analysis(range(12))
    found = solved.decidable(12, 3, first)
    assert found.level == first.level_at(0.05 / 3) < solved.level_among(3) / 10
    assert present(found.from_none) > 0.5


@pytest.mark.parametrize("share", [0.0, 1.5, float("nan")])
def test_a_task_with_an_impossible_share_is_refused(share: float) -> None:
    task = Task(open=lambda _path: None, shortcuts=lambda _train, _held_out: {}, solved=share)  # type: ignore[arg-type,return-value]
    assert "above 0 and at most 1" in catalogue.type_error("tasks", task)
    assert catalogue.type_error("tasks", replace(task, solved=1.0)) == ""


def test_a_task_says_from_where_on_it_is_solved() -> None:
    assert solved.solved_from(0.2, 0.5) == pytest.approx(0.6)
