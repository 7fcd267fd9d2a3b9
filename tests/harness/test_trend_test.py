"""Is a variant still getting faster or slower? In one process, and over all processes, of which one may drift by chance."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import stored
from scipy import stats

from modbench.harness.stats import trend_test
from modbench.harness.stats.reason import Reason
from modbench.harness.stats.trend_test import LEVEL, Drift
from modbench.planted_runs import planted_plan


def drifting(rng: random.Random, processes: int, blocks: int, drift: float, noise: float = 0.02) -> list[list[float]]:
    return [[drift * i / (blocks - 1) + rng.gauss(0, noise) for i in range(blocks)] for _ in range(processes)]


@given(st.integers(2, 9), st.integers(0, 999))
def test_of_one_process_it_is_kendalls_test_and_theils_slope(blocks: int, seed: int) -> None:
    (effects,) = drifting(random.Random(seed), 1, blocks, 0.05)
    drift, p = trend_test.pooled([effects])
    assert drift == pytest.approx((blocks - 1) * stats.theilslopes(effects).slope)
    assert p == pytest.approx(stats.kendalltau(range(blocks), effects, method="exact").pvalue)
    assert trend_test.pooled([effects[::-1]]) == pytest.approx((-drift, p))


def test_of_many_processes_it_is_the_sum_and_near_the_normal_distribution() -> None:
    # S of 3 and of -1: 2 or more in 4 of 12 orders.
    assert trend_test.pooled([[0.0, 0.1, 0.2], [0.4, 0.3]]) == pytest.approx((0.05, 2 * 4 / 12))
    assert trend_test._p_value(30, (6,) * 10) == pytest.approx(math.erfc(29 / math.sqrt(2 * 10 * 28.333)), rel=0.05)
    many = (101,)  # pairs above those whose distribution is computed
    assert trend_test._p_value(1000, many) == pytest.approx(2 * stats.norm.sf(999 / math.sqrt(101 * 100 * 207 / 18)))


def test_too_few_blocks_are_not_tested() -> None:
    for blocks, variants, testable in (
        *(([5], 1, False), ([6], 1, True), ([6], 8, False), ([6], 0, True)),
        *(([2] * 7, 1, False), ([2] * 8, 1, True), ([6] * 10, 8, True)),
    ):
        assert trend_test.testable(blocks, variants) is testable
    assert trend_test.unsteady({"a": [0.0, 0.1, 0.2, 0.3, 0.4]}) == {}
    assert trend_test.drifting([[0.0]] * 9, 1) is None


def test_a_drift_in_every_process_is_found_and_one_process_decides_nothing() -> None:
    rng, rising = random.Random(0), [0.01 * i for i in range(6)]
    every = drifting(rng, 10, 6, 0.06)
    change, p = trend_test.pooled(every)
    assert change == pytest.approx(0.06, abs=0.01)
    assert trend_test.drifting(every, variants=8) == Reason("drifts", change=change, processes=10, p=p)
    assert trend_test.drifting([rising, *drifting(rng, 9, 6, 0.0)], variants=8) is None
    assert trend_test.drifting([[0.0001 * i for i in range(6)]] * 10, variants=8) is None  # certain, and too small
    # In one process six blocks show it of one of three variants, not of four.
    three = {"short": rising[:5], "a": rising, "still": [0.0001 * i for i in range(6)]}
    assert trend_test.unsteady(three) == {"a": Drift(0.05, 6, pytest.approx(2 / math.factorial(6)))}  # type: ignore[arg-type]
    assert trend_test.unsteady({**three, "fourth": rising}) == {}
    # Seven with two of them the other way round: p = 14 / 5040, which the level divided by four leaves to chance.
    nearly = [0.0, 0.01, 0.03, 0.02, 0.04, 0.05, 0.06]
    for variants, called in ((3, True), (4, False)):
        assert bool(trend_test.unsteady({str(i): nearly for i in range(variants)})) is called
        assert (trend_test.drifting([nearly], variants) is not None) is called


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "blocks"), [(10, 6), (8, 2), (1, 12)])
def test_noise_is_called_a_drift_no_more_often_than_the_level(processes: int, blocks: int) -> None:
    """400 comparisons of eight variants: at most about one in a hundred has a variant that is called not steady by chance."""
    rng, called = random.Random(1), 0
    for _ in range(400):
        made = [drifting(rng, processes, blocks, 0.0, noise=0.05) for _ in range(8)]
        if processes > 1:
            called += any(trend_test.drifting(each, variants=8) for each in made)
        else:
            called += bool(trend_test.unsteady({str(i): each for i, (each,) in enumerate(made)}))
    assert called / 400 <= 2.5 * LEVEL


def test_a_drifting_variant_has_no_time_in_the_report(tmp_path: Path) -> None:
    frame = stored(tmp_path, planted_plan("draft", metrics=["latency/forward"]), drifts="moe")
    timed = frame[frame.baseline_variant == "dense"].set_index("variant")
    assert timed.loc["moe"].reason.str.contains("not_steady: ").all()
    assert (timed.loc["mod[c0.125]"].status == "ok").all()
    alone = stored(tmp_path / "one", planted_plan("draft", metrics=["latency/forward"]), drifts="moe", drifts_in=(0,))
    assert (alone[(alone.variant == "moe") & (alone.baseline_variant == "dense")].status == "ok").all()
