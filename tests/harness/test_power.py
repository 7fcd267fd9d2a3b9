"""How many processes or seeds decide? Simulated power against closed forms, advice, the pilot, plans of confirmations."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import sequential as bench
from hypothesis import given
from hypothesis import strategies as st
from present import present
from process_power import Design, advised, simulate
from scipy import stats

from modbench.harness.domain.suite import TWO_STAGE
from modbench.harness.stats import effects, power
from modbench.harness.stats.effects import Effect
from modbench.harness.stats.interim import schedule
from modbench.harness.stats.power import above_0, fewest, prospect
from modbench.harness.stats.verdicts import BETTER_OPEN, Kind, Rule, estimated, limited

RUNS, MARGIN = 20_000, 0.02
RULE, LOSS = Rule("time", MARGIN), Rule("loss", 1.0)


@pytest.mark.parametrize("n", [3, 10, 400])
def test_the_power_of_one_analysis_is_that_of_the_non_central_t(n: int) -> None:
    for shift in (-3.0, 0.0, 1.0, 2.0, 2.8, 5.0, 30.0):
        wanted = stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, shift)
        assert prospect(above_0, shift / math.sqrt(n), 1.0, (n,)).power == pytest.approx(wanted, abs=0.002)


@pytest.mark.parametrize("n", [9, 18])
def test_independent_sides_that_vary_alike_have_the_power_of_a_t_test(n: int) -> None:
    away = math.sqrt(n / 2)
    wanted = stats.nct.sf(stats.t.ppf(0.975, 2 * (n - 1)), 2 * (n - 1), away)
    assert prospect(above_0, 1.0, math.sqrt(2), (n,), 2).power == pytest.approx(wanted, abs=0.002)


def decide(effect: float, sd: float, n: int, margin: float) -> float:
    """Share of fresh runs that have a verdict, from their values."""
    values_RN = np.random.default_rng(n).normal(effect, sd, (RUNS, n))
    means, errors = values_RN.mean(axis=1), values_RN.std(axis=1, ddof=1) / math.sqrt(n)
    wide, narrow = (stats.t.ppf(share, n - 1) * errors for share in (0.975, 0.95))
    return float(np.mean((abs(means) > wide) | (abs(means) + narrow < math.log1p(margin))))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("sd", [0.01, 0.04])
@pytest.mark.parametrize("margin", [MARGIN, 0.0])
def test_fresh_runs_of_the_advice_decide_in_80_of_100(share: float, sd: float, margin: float) -> None:
    """And with one process fewer they do not; where processes are many, one more changes little."""
    effect = share * math.log1p(MARGIN)
    n = needed(Effect(-effect, sd=sd, n=2), margin)
    if n is None:
        assert effect == margin == 0
        return
    reached = decide(effect, sd, n, margin)
    assert reached > 0.79
    assert n == 3 or decide(effect, sd, n - 1, margin) < 0.81
    assert reached < 0.85 or n < 10


def needed(effect: Effect, margin: float = MARGIN) -> int | None:
    return estimated(effect, Rule("time", margin), "interleaved").needed


@pytest.mark.parametrize("slower", [0.0, 0.025, 0.04])
@pytest.mark.parametrize("kind", ["time", "loss"])
def test_fresh_runs_of_the_advice_hold_a_limit_in_80_of_100(slower: float, kind: Kind) -> None:
    """An effect may be known to differ long before it is known to lie on one side of a limit."""
    shift = math.log1p(slower) if kind == "time" else slower
    edge, sign = (math.log1p(MARGIN), -1) if kind == "time" else (MARGIN, 1)
    few = [sign * shift + sd for sd in (-0.02, 0.0, 0.02)]
    (held,) = limited([estimated(effects.over_processes(few), Rule(kind, MARGIN), "interleaved")], [MARGIN])
    n = present(held.needed)
    values_RN = np.random.default_rng(n).normal(shift, 0.02, (RUNS, n))
    narrow = stats.t.ppf(0.95, n - 1) * values_RN.std(axis=1, ddof=1) / math.sqrt(n)
    assert np.mean(abs(values_RN.mean(axis=1) - edge) > narrow) == pytest.approx(0.8, abs=0.01 if n >= 30 else 0.06)


def test_a_difference_whose_size_is_open_asks_for_its_size() -> None:
    found = estimated(effects.over_processes([0.02, 0.035, 0.01, 0.04, 0.025, 0.035]), RULE, "interleaved")
    assert found.verdict == BETTER_OPEN
    sd = present(found.effect.sd)
    assert prospect(RULE.sizes, found.effect.value, sd, (present(found.needed),)).power >= 0.8
    assert prospect(RULE.decides, found.effect.value, sd, (4,)).power > 0.8


def test_an_advice_from_few_processes_decides_less_surely() -> None:
    """Effect and spread are then estimates; after eight processes, those left undecided ask for enough."""
    (known, number), (few, _), (more, _) = (advised(n, math.log1p(0.01), 0.02, 300) for n in (0, 3, 8))
    assert 0.8 <= known < 0.85
    assert number == 13
    assert 0.55 < few < 0.75
    assert more > 0.8


@pytest.mark.slow
def test_a_pilot_asks_for_nothing_absurd_and_the_interval_covers() -> None:
    """The whole rule, stopping included, on small counts: 93 to 97 % within what 300 comparisons can tell; power near 80 %."""
    found = simulate(Design(8, 8, TWO_STAGE["standard"]), 300, sd=0.005, within=0.0145)
    assert 0.92 <= found.covered <= 0.98
    assert found.worse >= 0.75
    assert max(found.asked) <= 20
    assert 8 <= np.mean(found.made) <= 10


@pytest.mark.parametrize(
    "world", [bench.World((4, 8, 12, 16), 1.0), bench.World((5, 9, 14, 18), 0.7, paired=True), bench.World((7,), 1.5)]
)
def test_the_power_of_several_analyses_is_what_simulated_seeds_find(world: bench.World) -> None:
    made = bench.shares(world, RUNS)
    predicted = prospect(above_0, world.difference, *world.spread[:1], world.numbers, world.spread[1])
    assert made.right == pytest.approx(predicted.power, abs=0.02)
    assert made.seeds == pytest.approx(predicted.n, rel=0.01)
    assert made.held > 0.94


def seeds(
    difference: float, sd: float = 1.0, looks: int = 4, wanted: float = 0.8, rule: Rule | None = None
) -> int | None:
    """Seeds of each of two independent variants."""
    asked = rule.decides if rule else above_0
    return fewest(asked, difference, math.sqrt(2) * sd, freedom=2, analyses=looks, wanted=wanted, most=power.MOST_SEEDS)


def test_a_plan_ends_at_the_first_analysis_that_decides() -> None:
    answers = iter([np.arange(power.POINTS) % 4 == 0, np.zeros(power.POINTS, dtype=bool)])
    assert prospect(lambda _: next(answers), 1.0, 1.0, (4, 8)) == (0.25, 4 + 4 * 0.75)


def test_independent_seeds_know_their_spread_better_than_pairs() -> None:
    """Of the same spread of a difference two samples have twice the degrees of freedom, which few seeds need."""
    effect = effects.welch([1.0, 1.1, 0.9], [1.26, 1.36, 1.16])
    rule = Rule("loss", 0.0)
    found = [estimated(effect, rule, how).would_decide(rule.decides, least=3) for how in ("independent", "interleaved")]
    assert found == [seeds(0.26, 0.1, 1), fewest(above_0, 0.26, math.sqrt(2) * 0.1)]
    assert present(found[0]) < present(found[1])


def test_seeds_that_would_decide() -> None:
    """Hardest in the middle between nothing and the margin; there nothing may be enough."""
    found = [present(seeds(each, looks=2, rule=LOSS)) for each in (0.0, 0.25, 0.5, 1.0, -1.0, 2.0)]
    none, quarter, middle, margin, mirrored, twice = found
    assert none < quarter < middle
    assert twice < margin < middle
    assert margin == pytest.approx(mirrored, abs=1)
    # Two one-sided tests without a difference: z(0.95) + z(0.9), on a variance of two.
    assert none == pytest.approx(2 * (1.645 + 1.282) ** 2, abs=2)
    for difference, total in ((0.25, quarter), (0.5, middle), (1.0, margin)):
        made = bench.shares(bench.World(schedule(total, 2), difference, margin=1.0), RUNS)
        assert made.decided == pytest.approx(0.81, abs=0.025)
    assert seeds(0.0, rule=replace(LOSS, margin=1e-3)) is None


@given(st.floats(0.3, 3), st.floats(0.3, 3))
def test_needs_grow_with_the_spread_and_shrink_with_the_difference(sd: float, difference: float) -> None:
    one, looks = present(seeds(difference, sd, 1)), present(seeds(difference, sd, 2))
    assert one <= 1.02 * looks + 1  # the simulation's error, and rounding of the analyses
    for more in (seeds(difference, 1.5 * sd, 1), seeds(difference / 2, sd, 1), seeds(difference, sd, 1, 0.9)):
        assert (more or math.inf) >= one
    assert seeds(2 * difference, 2 * sd, 1) == one
    powers = [prospect(above_0, difference, math.sqrt(2) * sd, schedule(n, 1), 2).power for n in (one, max(3, one - 1))]
    assert powers[0] >= 0.8
    assert powers[1] < 0.8 or one == 3


@given(st.integers(3, 60), st.integers(1, 80), st.integers(1, 90))
def test_the_smallest_number_with_a_chance_is_found(least: int, more: int, wanted: int) -> None:
    """Not below the least, nor above the most; where the chance is reached exactly it is enough."""
    numbers = range(least, least + more)
    found = power.smallest(lambda n: n / 100, wanted / 100, least=least, most=numbers[-1])
    assert found == next((n for n in numbers if n >= wanted), None)


def test_advice_is_above_what_was_made_and_none_where_nothing_is_enough() -> None:
    """An estimate may lie in the gap between two verdicts though as many processes as were made seldom leave it there."""
    assert needed(Effect(0.0, sd=0.01, n=30)) == 31
    assert needed(Effect(0.1)) == 3  # no spread is known yet
    assert needed(Effect(math.log1p(MARGIN), sd=0.5, n=3)) is None
    assert [seeds(1e-3), seeds(0.0), seeds(1e-3, 0.0)] == [None, None, 3]
    assert [prospect(above_0, effect, 0.0, (3,)).power for effect in (0.01, 0.0)] == [1.0, 0.0]  # what never differs
    assert [prospect(replace(RULE, margin=each).decides, 0.0, 0.0, (3,)).power for each in (MARGIN, 0.0)] == [1.0, 0.0]


def test_variants_share_a_spread_unless_one_is_apart() -> None:
    """Variances are weighted by their degrees of freedom; one is apart by an F test whose level is shared among variants."""
    pattern = np.array([-1.0, 0.0, 1.0])
    assert power.spread([pattern, 2 * np.array([-1.0, 1.0, -1.0, 1.0, 0.0])]) == pytest.approx(math.sqrt((2 + 16) / 6))  # type: ignore[list-item]
    times = math.sqrt(stats.f.isf(0.01 / 3, 2, 2))
    for share in (0.99, 1.01):
        noisy = share * times * pattern
        pooled = math.sqrt((2 + (share * times) ** 2) / 3)
        found = power.spread([pattern, noisy, pattern])  # type: ignore[list-item]
        assert found == pytest.approx(pooled if share < 1 else share * times)
    assert power.spread([pattern]) == pytest.approx(1.0)  # type: ignore[list-item]
    assert power.spread([0 * pattern, pattern]) == pytest.approx(math.sqrt(0.5))  # type: ignore[list-item]
