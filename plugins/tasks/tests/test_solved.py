"""Counts of solved tasks: the exact test against scipy and closed forms, its errors by enumeration, what seeds can decide."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from present import present
from scipy import stats

from modbench.harness.core.contracts import Task
from modbench.harness.registry import catalogue
from modbench.harness.stats.effects import POWER
from modbench.plugins.tasks import solved
from modbench.plugins.tasks.exact_two_proportions import compare, p_values, power, seeds_needed
from modbench.plugins.tasks.seed_sets import SeedSets

RATES_R = np.linspace(0.0005, 0.9995, 1001)


def chances(n: int, rate: float) -> np.ndarray:
    return np.asarray(stats.binom.pmf(np.arange(n + 1), n, rate))


@pytest.mark.parametrize(("mine", "n", "other", "other_n"), [(0, 5, 5, 5), (2, 12, 9, 12), (1, 6, 4, 8), (3, 4, 4, 4)])
def test_the_p_value_is_that_of_scipys_barnard_test(mine: int, n: int, other: int, other_n: int) -> None:
    wanted = stats.barnard_exact([[mine, other], [n - mine, other_n - other]], n=128).pvalue
    assert p_values(n, other_n)[mine, other] == pytest.approx(wanted, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [*((n, n) for n in range(2, 11)), (3, 5), (4, 9), (7, 10)])
def test_equal_variants_are_told_apart_at_most_as_often_as_the_level_says(sizes: tuple[int, int]) -> None:
    """Exact, over all tables, at rates between those that the p-value looked at."""
    mine_RN, other_RN = (stats.binom.pmf(np.arange(n + 1), n, RATES_R[:, None]) for n in sizes)
    for level in (0.05, 0.05 / 3, 0.05 / 6):
        errors_R = ((mine_RN @ (p_values(*sizes) <= level)) * other_RN).sum(1)
        assert errors_R.max() <= level + 1e-4 * level


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(3, 3), (5, 5), (6, 4)])
def test_the_interval_excludes_no_difference_where_the_test_does(sizes: tuple[int, int]) -> None:
    for mine, other in itertools.product(*(range(n + 1) for n in sizes)):
        found = compare(mine, sizes[0], other, sizes[1])
        assert present(found.low) <= found.value <= present(found.high)
        assert found.excludes_0 == (present(found.p) <= 0.05), (mine, other)


@pytest.mark.slow
def test_the_interval_holds_the_true_difference_in_95_of_100_runs() -> None:
    """Exact, over all tables of six seeds each."""
    n = 6
    made = [[compare(mine, n, other, n) for other in range(n + 1)] for mine in range(n + 1)]
    low, high = (np.array([[getattr(each, end) for each in row] for row in made]) for end in ("low", "high"))
    for rate, other_rate in ((0.5, 0.5), (0.9, 0.3), (0.66, 0.05), (0.2, 0.95), (0.35, 0.6)):
        truth = rate - other_rate
        assert chances(n, rate) @ ((low <= truth) & (truth <= high)) @ chances(n, other_rate) >= 0.95


@pytest.mark.parametrize("rates", [(0.0, 1.0), (0.1, 0.9), (0.2, 0.8), (2 / 3, 0.0), (0.0, 0.45)])
def test_seeds_needed_have_the_power_and_fewer_do_not(rates: tuple[float, float]) -> None:
    """Also where power rises in a saw-tooth, as for the last of these."""
    level = 0.05 / 3
    n = present(seeds_needed(*rates, level))
    assert power(n, *rates, level) >= POWER > max(power(fewer, *rates, level) for fewer in range(2, n))
    assert power(n, *rates, level) == pytest.approx(
        chances(n, rates[0]) @ (p_values(n, n) <= level) @ chances(n, rates[1])
    )


def test_rates_too_close_need_no_number_of_seeds() -> None:
    assert seeds_needed(0.5, 0.5) is None
    assert seeds_needed(0.5, 0.52) is None


def test_what_seeds_can_decide_has_the_power_and_less_has_not() -> None:
    found, level = solved.decidable(12, 3), solved.level_among(3)
    assert (found.seeds, found.pairs, found.from_none, found.symmetric) == (12, 3, 0.5, 0.17)
    assert power(12, 0.0, 0.5, level) >= POWER > power(12, 0.0, 0.49, level)
    assert power(12, 0.17, 0.83, level) >= POWER > power(12, 0.18, 0.82, level)
    few = solved.decidable(3, 6)  # three seeds decide nothing among several variants
    assert few.from_none is few.symmetric is None
    assert (few.seeds, few.pairs, few.needed[0.0, 1.0]) == (3, 6, 4)
    assert [few.smallest_p, few.level] == pytest.approx([2 / 4**3, 0.05 / 6])


def test_a_first_look_of_two_decides_less() -> None:
    first = SeedSets((tuple(range(12)),), planned=2).analysis(range(12))
    found = solved.decidable(12, 3, first)
    assert found.level == first.level_at(0.05 / 3) < solved.level_among(3) / 10
    assert present(found.from_none) > 0.5


@pytest.mark.parametrize(("share", "fine"), [(0.0, False), (1.5, False), (float("nan"), False), (1.0, True)])
def test_a_task_is_solved_from_a_share_above_0_and_at_most_1(share: float, fine: bool) -> None:
    made: Callable[..., Task] = replace
    error = catalogue.type_error("tasks", made(catalogue.load("tasks", "copy"), solved=share))
    assert (error == "") is fine
    assert fine or "above 0 and at most 1" in error
    assert solved.solved_from(0.2, 0.5) == pytest.approx(0.6)
