"""Sets of seeds are pooled, and each is one interim analysis: counts, verdicts, and the error of a family."""

from __future__ import annotations

import math

import numpy as np
import pytest
import seed_sets as bench
from present import present

from modbench.harness.stats import effects
from modbench.harness.stats.effects import Effect
from modbench.harness.stats.verdicts import BETTER, INCONCLUSIVE, WORSE, Rule, estimated, together
from modbench.plugins.tasks import exact_two_proportions
from modbench.plugins.tasks.seed_sets import SeedSets

TWELVE, MORE = tuple(range(3, 15)), tuple(range(15, 27))


def test_each_set_is_an_analysis() -> None:
    assert SeedSets((TWELVE,)).analysis(TWELVE).level_at() == pytest.approx(0.05)
    both = SeedSets((TWELVE, MORE))
    assert both.analysis(TWELVE + MORE).fractions == (0.5, 1.0)
    assert both.analysis(TWELVE + MORE).number == 2
    # A variant that one set lacks was looked at once.
    assert both.analysis(MORE, TWELVE + MORE) == SeedSets((MORE,)).analysis(MORE)
    # A run that plans two looks is the first of them.
    first = SeedSets((TWELVE,), planned=2).analysis(TWELVE)
    assert (first.number, first.fractions, first.total) == (1, (0.5, 1.0), 24)
    # The later look of the two is the same, planned or not.
    assert SeedSets((TWELVE, MORE), planned=2).analysis(TWELVE + MORE) == both.analysis(TWELVE + MORE)


def test_an_analysis_so_early_that_it_spends_nothing_is_left_out() -> None:
    many = tuple(range(100, 200))
    analysis = SeedSets(((1, 2, 3), many)).analysis((1, 2, 3, *many))
    assert (analysis.number, analysis.fractions) == (1, (1.0,))
    assert analysis.level_at() == pytest.approx(0.05)


def test_counts_exclude_no_difference_where_their_p_value_is_at_most_five_per_cent() -> None:
    analysis = SeedSets((TWELVE, MORE)).analysis(TWELVE + MORE)
    for mine in (3, 5, 9):
        found = exact_two_proportions.compare(mine, 24, 12, 24, analysis)
        once = exact_two_proportions.compare(mine, 24, 12, 24)
        assert found.excludes_0 == (present(found.p) <= 0.05), mine
        assert present(found.p) > present(once.p)
        assert present(found.low) <= present(once.low)


def said(found: list[Effect]) -> list[str | None]:
    """Verdicts on accuracies, as one family."""
    return [each.verdict for each in together([estimated(effect, Rule("loss", 0.0, "higher")) for effect in found])]


def test_the_sets_of_the_docs_pooled_say_what_the_page_says() -> None:
    """The newest alone calls MoD worse; both together do not, and integrated MoDE is better."""
    mod, integrated = (bench.pooled([each.values() for each in sets]) for sets in bench.DOCS.values())
    assert said([mod, integrated]) == [INCONCLUSIVE, BETTER]
    assert [mod.value, mod.low, mod.high] == pytest.approx([-7.45, -14.99, 0.09], abs=0.01)
    assert [integrated.value, integrated.low, integrated.high] == pytest.approx([7.35, 2.04, 12.66], abs=0.01)
    assert mod.n == 24
    newest = effects.over_processes(bench.DOCS["MoD 0.125"][1].values())
    assert said([newest]) == [WORSE]


def test_a_summary_stands_for_its_values() -> None:
    values = np.random.default_rng(5).normal(2, 3, 12).tolist()
    known = effects.over_processes(values)
    assert known.low is not None
    again = effects.over_processes(bench.Set(12, known.value, known.low, present(known.high)).values())
    assert (again.value, again.sd, again.low) == pytest.approx((known.value, known.sd, known.low))


def test_the_simulated_verdicts_are_those_of_a_report() -> None:
    rng = np.random.default_rng(7)
    analysis = SeedSets((TWELVE, MORE)).analysis(TWELVE + MORE)
    mine_RAN, base_RN = rng.normal(0.1, 0.15, (12, 2, 24)), rng.normal(0, 0.15, (12, 24))
    told_RA = bench.told_apart(bench.p_of_means(mine_RAN, base_RN), analysis)
    for run in range(12):
        found = [
            effects.over_processes((variant - base_RN[run]).tolist(), analysis=analysis) for variant in mine_RAN[run]
        ]
        assert [word != INCONCLUSIVE for word in said(found)] == told_RA[run].tolist()
    assert 0.1 < told_RA.mean() < 0.9


def test_who_takes_the_newest_set_errs_twice_as_often_as_who_pools() -> None:
    """Equal variants, 4,000 runs; `benchmarks/seed_sets.py` has all kinds."""
    found = bench.errors(bench.World(bench.plateau), 4000)
    error = math.sqrt(0.05 * 0.95 / 4000)
    assert found["pooled, looks planned"] < 0.05 + 3 * error
    assert found["the newest set alone"] > 0.075 + 3 * error
    assert found["pooled, 5 % at each look"] > 0.05 + 3 * error
    assert bench.held((12, 12), bench.plateau, 4000) > 0.95 - 3 * error
