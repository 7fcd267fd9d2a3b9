"""Interim analyses: boundaries, repeated intervals and p-values, and how often several analyses are wrong."""

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
from scipy import special, stats

from modbench.harness.stats import effects
from modbench.harness.stats.interim import ONE, Analysis, analysis_at, boundaries, schedule, spent
from modbench.harness.stats.verdicts import EQUIVALENT, INCONCLUSIVE, Rule, estimated

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
def test_each_analysis_alone_spends_less_than_all_together(fractions: tuple[float, ...]) -> None:
    found = boundaries(fractions)
    for share, p in zip(fractions, found, strict=True):
        assert 0 < p <= spent(share) * (1 + 1e-6)  # what crosses now for the first time, and now alone
    assert spent(1.0) == pytest.approx(0.05)
    assert all(narrow < wide for narrow, wide in zip(found, boundaries(fractions, 0.1), strict=True))
    # What is still to come moves no boundary that is there.
    assert boundaries(fractions[:1]) == found[:1]


@pytest.mark.parametrize(
    ("fractions", "words"),
    [
        ((), "rising"),
        ((0.5, 0.5), "rising"),
        ((0.5, 1.1), "at most 1"),
        ((0.01, 1.0), "first analysis is at 0.010 .* cannot stop"),
    ],
)
def test_analyses_that_make_no_sense_are_refused(fractions: tuple[float, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        boundaries(fractions)
    for level in (0.0, 1.0):
        with pytest.raises(ValueError, match=f"between 0 and 1, not at {level}"):
            boundaries([1.0], level)
    with pytest.raises(ValueError, match="at least 3"):
        schedule(2)


@given(st.integers(3, 300), st.integers(1, 8), st.integers(3, 8))
def test_a_schedule_rises_to_its_total(total: int, looks: int, first: int) -> None:
    made = schedule(total, looks, first)
    assert made == tuple(sorted(set(made)))
    assert made[-1] == total
    assert len(made) <= looks
    assert made[0] >= min(total, first)
    even = {-(-total * number // looks) for number in range(1, looks + 1)}
    assert set(made) <= {total, first} | even


@pytest.mark.parametrize("p", [0.0001, 0.0028, 0.02, 0.2])
def test_the_repeated_p_value_of_a_first_analysis_has_a_closed_form(p: float) -> None:
    """Lan & DeMets' function that resembles O'Brien & Fleming's rule, at half of the seeds, solved for the level by hand."""
    guarded = 4 * special.ndtr(special.ndtri(p / 4) * math.sqrt(0.5))
    assert analysis_at(1, (12, 24)).repeated(p) == pytest.approx(guarded / (1 - 1 / 24), rel=1e-6)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_p_value_at_the_level_of_its_analysis_is_five_per_cent(number: int) -> None:
    analysis = analysis_at(number, (8, 12, 24))
    level = analysis.level_at()
    assert analysis.repeated(level) == pytest.approx(0.05, rel=1e-6)
    assert analysis.repeated(0.9 * level) < 0.05 < analysis.repeated(1.1 * level)
    assert analysis.repeated(1.0) == 1.0
    assert analysis.repeated(0.0) < 1e-9


def test_a_single_analysis_has_the_whole_level() -> None:
    assert (ONE.level_at(), ONE.level_at(0.1), ONE.repeated(0.03), ONE.reason) == (0.05, 0.1, 0.03, None)
    assert Analysis(2, (0.5, 1.0), 24).reason is not None
    # Guarded: t values depend on each other less than normal ones.
    assert Analysis(2, (0.5, 1.0), 24).level_at() < boundaries((0.5, 1.0))[1]


def test_an_interval_excludes_no_difference_where_its_p_value_is_at_most_five_per_cent() -> None:
    rng, told, analysis = np.random.default_rng(3), 0, analysis_at(2, (12, 24))
    for _ in range(20):
        values = rng.normal(0.42, 1, 24).tolist()
        found, once = effects.over_processes(values, analysis=analysis), effects.over_processes(values)
        assert found.p == analysis.repeated(present(once.p)) > present(once.p)
        assert found.excludes_0 == (present(found.p) <= 0.05)
        told += found.excludes_0
    assert 3 < told < 17


def test_several_analyses_err_no_more_often_than_one() -> None:
    """Two identical variants; a rule that allows 5 % at each analysis errs more than twice as often."""
    world = bench.World((4, 8, 12, 16))
    for each in (world, replace(world, paired=True)):
        assert bench.shares(each, 20_000).apart == pytest.approx(0.05, abs=0.006)
    assert bench.peeked(world.numbers, 5000) > 0.1


def test_the_simulated_confirmations_are_judged_like_any_contrast() -> None:
    """A single analysis of one run in each world, with the same draws."""
    rule = Rule("loss", 1.2)
    for seed in range(20):
        mine, theirs = np.random.default_rng(seed).standard_normal((2, 1, 7))[:, 0] + [[0.9], [0.0]]
        for paired in (True, False):
            effect = effects.over_processes(mine) if paired else effects.welch(mine, theirs)
            word = estimated(effect, rule, "interleaved" if paired else "independent").verdict
            made = bench.shares(bench.World((7,), 0.9, paired=paired, margin=1.2), 1, seed)
            assert (made.decided, made.equivalent) == (word != INCONCLUSIVE, word == EQUIVALENT)


def test_what_reports_say_of_early_differences_and_of_the_margin() -> None:
    """Differences that were shown early are too large; one as large as the margin is seldom called equivalent."""
    assert bench.shares(bench.World(schedule(18), 0.95), 10_000).above > 0.525
    assert 0.03 < bench.shares(bench.World(schedule(14), 1.0, margin=1.0), 10_000).equivalent < 0.06
