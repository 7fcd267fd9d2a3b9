"""Sets of seeds are pooled, and each is one look: levels in closed form, intervals, exact counts, and the error of a family."""

from __future__ import annotations

import math

import numpy as np
import pytest
import seed_sets as bench
from present import present
from scipy import special

from modbench.harness.stats import effects, exact_two_proportions
from modbench.harness.stats.contrast import Rule, verdict
from modbench.harness.stats.group_sequential import fractions_of, levels_of, repeated_p
from modbench.harness.stats.seed_sets import ONE_LOOK, SeedSets

TWELVE, MORE = tuple(range(3, 15)), tuple(range(15, 27))


def test_one_set_is_compared_as_ever() -> None:
    values = np.random.default_rng(1).normal(0.1, 1, 12).tolist()
    look = SeedSets((TWELVE,)).look(TWELVE)
    assert look.of_values(values) == effects.over_launches(values)
    assert look.level_at() == pytest.approx(0.05)
    assert look.of_counts((2, 12), (9, 12)) == exact_two_proportions.compare(2, 12, 9, 12)


def test_each_set_is_a_look() -> None:
    both = SeedSets((TWELVE, MORE))
    assert both.look(TWELVE + MORE).fractions == (0.5, 1.0)
    assert both.look(TWELVE + MORE).number == 2
    # An arm that one set lacks was looked at once.
    assert both.look(MORE, TWELVE + MORE) == SeedSets((MORE,)).look(MORE)
    # A run that plans two looks is the first of them.
    first = SeedSets((TWELVE,), planned=2).look(TWELVE)
    assert (first.number, first.fractions, first.total) == (1, (0.5, 1.0), 24)
    # The later look of the two is the same, planned or not.
    assert SeedSets((TWELVE, MORE), planned=2).look(TWELVE + MORE) == both.look(TWELVE + MORE)


def test_a_look_so_early_that_it_spends_nothing_is_left_out() -> None:
    many = tuple(range(100, 200))
    look = SeedSets(((1, 2, 3), many)).look((1, 2, 3, *many))
    assert (look.number, look.fractions) == (1, (1.0,))
    assert look.level_at() == pytest.approx(0.05)


@pytest.mark.parametrize("p", [0.0001, 0.0028, 0.02, 0.2])
def test_the_repeated_p_value_of_a_first_look_has_a_closed_form(p: float) -> None:
    """Lan & DeMets' function that resembles O'Brien & Fleming's rule, at half of the seeds, solved for the level by hand."""
    guarded = 4 * special.ndtr(special.ndtri(p / 4) * math.sqrt(0.5))
    assert repeated_p(p, 1, (0.5, 1.0), 24) == pytest.approx(guarded / (1 - 1 / 24), rel=1e-6)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_p_value_at_the_level_of_its_look_is_five_per_cent(number: int) -> None:
    fractions = fractions_of((8, 12, 24))
    level = levels_of(fractions, 24)[number - 1]
    assert repeated_p(level, number, fractions, 24) == pytest.approx(0.05, rel=1e-6)
    assert repeated_p(0.9 * level, number, fractions, 24) < 0.05 < repeated_p(1.1 * level, number, fractions, 24)
    assert repeated_p(1.0, number, fractions, 24) == 1.0
    assert repeated_p(0.0, number, fractions, 24) < 1e-9


def test_an_interval_excludes_no_difference_where_its_p_value_is_at_most_five_per_cent() -> None:
    rng, told = np.random.default_rng(3), 0
    look = SeedSets((TWELVE, MORE)).look(TWELVE + MORE)
    for _ in range(20):
        values = rng.normal(0.42, 1, 24).tolist()
        found, once = look.of_values(values), effects.over_launches(values)
        assert found.p is not None
        assert once.p is not None
        assert found.p == repeated_p(once.p, look.number, look.fractions, look.total) > once.p
        assert found.excludes_0 == (found.p <= 0.05)
        told += found.excludes_0
    assert 3 < told < 17
    for mine in (3, 5, 12):
        found = look.of_counts((mine, 24), (12, 24))
        assert found.excludes_0 == (present(found.p) <= 0.05), mine


def test_the_sets_of_the_docs_pooled_say_what_the_page_says() -> None:
    """The newest alone calls MoD worse; both together do not, and integrated MoDE is better."""
    mod, integrated = (bench.pooled([each.values() for each in sets]) for sets in bench.DOCS.values())
    adjusted = effects.adjusted({0: present(mod.p), 1: present(integrated.p)})
    said = [verdict(each, Rule("loss", 0.0, "higher"), adjusted[i]) for i, each in enumerate((mod, integrated))]
    assert said == ["inconclusive", "better"]
    assert [mod.value, mod.low, mod.high] == pytest.approx([-7.45, -14.99, 0.09], abs=0.01)
    assert [integrated.value, integrated.low, integrated.high] == pytest.approx([7.35, 2.04, 12.66], abs=0.01)
    assert mod.n == 24
    newest = effects.over_launches(bench.DOCS["MoD 0.125"][1].values())
    assert verdict(newest, Rule("loss", 0.0, "higher"), None) == "worse"


def test_a_summary_stands_for_its_values() -> None:
    values = np.random.default_rng(5).normal(2, 3, 12).tolist()
    known = effects.over_launches(values)
    assert known.low is not None
    again = effects.over_launches(bench.Set(12, known.value, known.low, present(known.high)).values())
    assert (again.value, again.sd, again.low) == pytest.approx((known.value, known.sd, known.low))


def test_the_simulated_verdicts_are_those_of_a_report() -> None:
    rng = np.random.default_rng(7)
    look = SeedSets((TWELVE, MORE)).look(TWELVE + MORE)
    mine_RAN, base_RN = rng.normal(0.1, 0.15, (12, 2, 24)), rng.normal(0, 0.15, (12, 24))
    told_RA = bench.told_apart(bench.p_of_means(mine_RAN, base_RN), look)
    for run in range(12):
        found = [look.of_values((arm - base_RN[run]).tolist()) for arm in mine_RAN[run]]
        adjusted = effects.adjusted({i: each.p for i, each in enumerate(found) if each.p is not None})
        said = [verdict(each, Rule("loss", 0.0, "higher"), adjusted[i]) for i, each in enumerate(found)]
        assert [word != "inconclusive" for word in said] == told_RA[run].tolist()
    assert 0.1 < told_RA.mean() < 0.9


def test_who_takes_the_newest_set_errs_twice_as_often_as_who_pools() -> None:
    """Equal arms, 4,000 runs; `tests/bench/seed_sets.py` has all kinds."""
    found = bench.errors(bench.World(bench.plateau), 4000)
    error = math.sqrt(0.05 * 0.95 / 4000)
    assert found["pooled, looks planned"] < 0.05 + 3 * error
    assert found["the newest set alone"] > 0.075 + 3 * error
    assert found["pooled, 5 % at each look"] > 0.05 + 3 * error
    assert bench.held((12, 12), bench.plateau, 4000) > 0.95 - 3 * error


def test_one_look_is_no_look_of_several() -> None:
    assert ONE_LOOK.reason is None
    assert SeedSets((TWELVE, MORE)).look(TWELVE + MORE).reason is not None
