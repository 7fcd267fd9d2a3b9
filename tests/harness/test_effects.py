"""Effects, intervals and p-values against closed forms of other programs, published tables and simulation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from present import present
from scipy import stats

from modbench.harness.stats import effects
from modbench.harness.stats.effects import Effect, over_processes, over_rounds, welch
from modbench.harness.stats.reason import Reason
from modbench.harness.stats.verdicts import Rule, verdict

numbers = st.lists(st.floats(-2, 2), min_size=3, max_size=12).map(
    lambda each: [x + i / 100 for i, x in enumerate(each)]
)


def is_of(effect: Effect, test: object, sign: int = 1) -> None:
    """Hold the value, p-value and both intervals of an effect to those of a t-test of scipy."""
    for level, ends in ((0.95, (effect.low, effect.high)), (0.9, (effect.low90, effect.high90))):
        low, high = sorted(sign * end for end in test.confidence_interval(level))  # type: ignore[attr-defined]
        assert ends == pytest.approx((low, high), abs=1e-12)
    assert (effect.p, effect.freedom) == pytest.approx((test.pvalue, test.df))  # type: ignore[attr-defined]


@given(numbers)
def test_the_interval_over_processes_is_that_of_the_t_test(values: list[float]) -> None:
    effect, n = over_processes(values), len(values)
    is_of(effect, stats.ttest_1samp(values, 0))
    error = np.std(values, ddof=1) / math.sqrt(n)
    assert (effect.value, effect.sd, effect.error, effect.n) == pytest.approx(
        (np.mean(values), np.std(values, ddof=1), error, n), abs=1e-12
    )
    quantiles = stats.t.ppf(0.975, n - 1) + stats.t.ppf(0.8, n - 1)
    assert effect.detectable == pytest.approx(quantiles * error)
    assert effects.detectable(present(effect.sd), n) == pytest.approx(quantiles * error)
    assert effect.ratio == pytest.approx([math.exp(each) for each in (effect.value, effect.low, effect.high)])  # type: ignore[arg-type]


@given(numbers, numbers)
def test_the_interval_between_independent_processes_is_welchs(mine: list[float], theirs: list[float]) -> None:
    effect = welch(mine, theirs)
    is_of(effect, stats.ttest_ind(mine, theirs, equal_var=False))
    assert effect.value == pytest.approx(np.mean(mine) - np.mean(theirs), abs=1e-12)
    assert effect.sd == pytest.approx(math.sqrt(np.var(mine, ddof=1) + np.var(theirs, ddof=1)))
    assert effect.n == min(len(mine), len(theirs))


def test_values_without_variance_have_an_interval_without_width() -> None:
    assert effects.welch_freedom([0.0, 0.0], [2, 3]) == 5
    for value, p in ((0.25, 0.0), (-0.25, 0.0), (0.0, 1.0)):
        same = over_processes([value] * 4)
        assert (same.low, same.high, same.p, same.sd) == (value, value, p, 0)


@given(st.lists(st.floats(-1, 1), min_size=6, max_size=40))
def test_the_interval_over_rounds_is_that_of_the_sign_test(values: list[float]) -> None:
    """Order statistics whose binomial chance to hold the median is at least the level, and would not be one further in."""
    effect, ordered, signed = over_rounds(values), sorted(values), [each for each in values if each]
    assert effect.value == pytest.approx(np.median(values))
    assert effect.p == pytest.approx(
        stats.binomtest(sum(each > 0 for each in signed), len(signed)).pvalue if signed else 1
    )
    for level, low, high in ((0.95, effect.low, effect.high), (0.9, effect.low90, effect.high90)):
        rank = int(stats.binom.ppf((1 - level) / 2, len(values), 0.5))
        assert (low, high) == (ordered[rank - 1], ordered[-rank])
    assert effect.reason == Reason("within_process")


@pytest.mark.parametrize("n", range(1, 34))
def test_a_median_has_an_interval_from_six_values_on(n: int) -> None:
    found = effects.median_interval(list(range(n)))
    assert (found is None) == (n < effects.FEWEST_ROUNDS)
    if found is not None:
        rank = int(found[0]) + 1
        assert 1 - 2 * stats.binom.cdf(rank - 1, n, 0.5) >= 0.95 > 1 - 2 * stats.binom.cdf(rank, n, 0.5)


@pytest.mark.parametrize(
    ("effect", "value", "n", "sd", "reason"),
    [
        (over_processes([0.1, 0.3]), 0.2, 2, math.sqrt(0.02), Reason("few_values", n=2)),
        (over_processes([0.5]), 0.5, 1, None, Reason("few_values", n=1)),
        (over_processes([0.5], [0.1, 0.2, 0.3]), 0.5, 1, None, Reason("few_blocks", n=3)),
        (welch([1.0, 2.0], [0.0, 1.0, 2.0]), 0.5, 2, None, Reason("few_processes_of_each")),
        (over_rounds([0.1, 0.2, 0.4, 0.5]), 0.3, 1, None, Reason("few_rounds", n=4, needed=6)),
    ],
)
def test_too_few_values_have_no_interval_and_say_why(
    effect: Effect, value: float, n: int, sd: float | None, reason: Reason
) -> None:
    assert replace(effect, value=0.0, sd=None) == Effect(0.0, n=n, reason=reason)
    assert effect.value == pytest.approx(value)
    assert effect.sd == (None if sd is None else pytest.approx(sd))
    assert not effect.excludes_0
    assert effect.ratio[1:] == effect.mirrored().shifted(1.0).ratio[1:] == (None, None)


def test_the_blocks_of_one_process_have_an_interval_of_their_median() -> None:
    effect = over_processes([0.5], within=[0.1 * i for i in range(12)])
    assert (effect.value, effect.low, effect.high) == pytest.approx((0.5, 0.2, 0.9))  # third of twelve, by the binomial
    assert (effect.n, effect.p, effect.low90, effect.reason) == (1, None, None, Reason("one_process"))


@given(numbers, st.floats(-5, 5))
def test_an_effect_moved_or_turned_is_that_of_values_moved_or_turned(values: list[float], by: float) -> None:
    """Of a time that becomes a rate."""
    for changed, wanted in (
        (over_processes(values).shifted(by), over_processes([each + by for each in values])),
        (over_processes(values).mirrored(), over_processes([-each for each in values])),
    ):
        for name in ("value", "low", "high", "low90", "high90", "detectable", "sd", "p"):
            assert getattr(changed, name) == pytest.approx(getattr(wanted, name), rel=1e-6, abs=1e-9), name
    assert replace(over_rounds(values * 3), p=None).shifted(by).p is None  # the signs of moved values are not known
    assert over_rounds(values * 3).shifted(by).p is None


@given(st.integers(1, 60), st.data())
def test_the_interval_of_a_share_is_clopper_and_pearsons(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    wanted = stats.binomtest(hits, n).proportion_ci(method="exact")
    assert effects.share_interval(hits, n) == pytest.approx((wanted.low, wanted.high))


def test_a_robust_standard_deviation_is_that_of_normal_values() -> None:
    values = np.random.default_rng(0).normal(3, 2, 101).tolist()
    assert effects.robust_sd(values) == pytest.approx(stats.median_abs_deviation(values, scale="normal"), rel=1e-5)


@pytest.mark.parametrize(("processes", "sd"), [(5, 0.012), (10, 0.006)])
def test_what_is_printed_as_detectable_is_found_in_80_of_100(processes: int, sd: float) -> None:
    """A true effect of that size exactly; and 3 % is called worse where the margin of 2 % leaves as much."""
    rng, told, called, small = np.random.default_rng(processes), 0, 0, 0
    true = effects.detectable(sd, processes)
    for row in rng.normal(0, sd, (2000, processes)):
        told += over_processes((row + true).tolist()).excludes_0
        effect = over_processes((row - math.log(1.03)).tolist())
        if present(effect.detectable) <= 0.01:
            small += 1
            called += verdict(effect, Rule(margin=0.02), None) == "worse"
    assert told / 2000 == pytest.approx(0.8, abs=0.04)
    assert sd > 0.01 or called >= 0.8 * small >= 0.8 * 400


# --- how much a cost depends on the input


@given(st.integers(2, 6), st.integers(2, 5), st.sampled_from([0.0, 0.01, 0.1]), st.integers(0, 99))
def test_the_spread_between_inputs_of_one_process_is_that_of_an_analysis_of_variance(
    inputs: int, visits: int, planted: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    at = np.repeat(np.arange(inputs), visits)
    values = rng.normal(0, planted, inputs)[at] + rng.normal(0, 0.02, len(at))
    once = (np.append(values, 9.0), np.append(at, inputs))  # an input that was visited once says nothing
    found = present(effects.input_spread([once]))
    groups = [values[at == each] for each in range(inputs)]
    between = visits * np.var([each.mean() for each in groups], ddof=1)
    within = np.mean([np.var(each, ddof=1) for each in groups])
    assert found.inputs == inputs
    assert found.p == pytest.approx(stats.f_oneway(*groups).pvalue)
    assert found.sd == pytest.approx(math.sqrt(max(0.0, (between - within) / visits)))
    assert effects.input_spread([(values, at * 0)]) is None  # one input has no spread


def test_two_rounds_of_many_processes_are_not_called_input_dependent() -> None:
    """Centred, two blocks of a process are mirror images: taken for independent, a quarter of all cells would look dependent."""
    rng, both = np.random.default_rng(0), np.array([0, 1])
    made = [present(effects.input_spread([(row, both) for row in rng.normal(0, 0.02, (8, 2))])).p for _ in range(400)]
    assert sum(p < 0.05 for p in made) / 400 == pytest.approx(0.05, abs=0.025)
