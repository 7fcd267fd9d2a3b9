"""One fit over all runs of a sweep: planted curves come back, intervals hold the truth, a lacking optimum has a reason."""

from __future__ import annotations

import itertools
import math
from typing import Any

import joint_fit as bench
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from present import of_type, present
from scipy import stats

from modbench.harness.stats.reason import Reason
from modbench.plugins.sweeps.joint_fit import FLAT, LARGER, SMALLER, JointFit, Optimum, Run, linked, too_few


def swept(seed: int, **world: Any) -> list[Run]:
    """Runs of three variants: dense, routed, and routed by noise."""
    return bench.swept(bench.World(**world), np.random.default_rng(seed))


def optimum(fit: JointFit, variant: str) -> Optimum:
    return of_type(Optimum, fit.optimum(variant))


# --- one variant


@given(
    st.floats(10, 20),
    st.floats(0.01, 5),
    st.floats(-3, 3),
    st.lists(st.floats(-1, 1), min_size=3, max_size=6, unique_by=lambda x: round(x, 1)),
)
def test_the_optimum_of_a_parabola_is_found(middle: float, bend: float, lowest: float, places: list[float]) -> None:
    x = sorted(middle + place for place in places)
    at = (x[0] + x[-1]) / 2
    assume(min(b - a for a, b in itertools.pairwise(x)) >= 0.05)
    found = optimum(JointFit([Run("v", each, 0, lowest + bend * (each - at) ** 2) for each in x]), "v")
    assert (found.place.value, found.loss.value) == pytest.approx((at, lowest), abs=1e-3)
    assert found.place.low is found.loss.low is None  # one seed says nothing about others


@pytest.mark.parametrize(
    ("losses", "reason"),
    [
        ([3.0, 2.0, 1.5], LARGER),
        ([1.5, 2.0, 3.0], SMALLER),
        ([1.0, 2.0, 1.0], FLAT),
        ([1.0, 2.0, 3.0], FLAT),
        ([1.0, 2.0], too_few(2)),
        ([1.0], too_few(1)),
    ],
)
def test_without_an_optimum_there_is_a_reason(losses: list[float], reason: Reason) -> None:
    fit = JointFit([Run("v", 10.0 + i, 0, loss) for i, loss in enumerate(losses)])
    assert fit.optimum("v") == reason
    assert fit.difference("v", "v") is None
    predicted = {x: each.value for x, each in fit.predicted("v").items()}
    assert predicted == pytest.approx({10.0 + i: loss for i, loss in enumerate(losses)})
    assert predicted[fit.best("v")] == pytest.approx(min(losses))


def test_one_variant_of_one_size_is_a_mean_over_seeds() -> None:
    losses = [2.0, 2.1, 1.9, 2.3]
    fit = JointFit([Run("v", 11.0, seed, loss) for seed, loss in enumerate(losses)])
    assert fit.residual is None  # an offset for each seed leaves nothing over
    mean = fit.predicted("v")[11.0]
    assert mean.value == pytest.approx(np.mean(losses))
    assert mean.error is None


def test_rounding_decides_about_no_interval() -> None:
    """Three sizes with two seeds leave two degrees of freedom, which come out a little more or less than that."""
    rng = np.random.default_rng(0)
    for first in np.linspace(9.0, 14.0, 40):
        places = [float(first), float(first) + 0.7, float(first) + 1.1]
        fit = JointFit([Run("v", x, s, 2 + (x - places[1]) ** 2 + rng.normal(0, 1e-3)) for x in places for s in (0, 1)])
        assert present(fit.residual).freedom == 2
        assert optimum(fit, "v").place.low is not None


# --- several variants


def test_it_is_least_squares_with_a_column_for_each_seed() -> None:
    """The same fit with seeds coded otherwise, and with the losses' covariance from first principles."""
    runs = swept(3, noise=(0.02, 0.02, 0.02), offset=0.05)[:-4]  # a variant lacks some runs
    fit, variants = JointFit(runs), sorted({run.variant for run in runs})
    rows_RC = np.zeros((len(runs), 11))
    for row_C, run in zip(rows_RC, runs, strict=True):
        i = 3 * variants.index(run.variant)
        row_C[i : i + 3] = 1, run.x - 11, (run.x - 11) ** 2
        row_C[9:] = run.seed == 1, run.seed == 2
    found, left, *_ = np.linalg.lstsq(rows_RC, np.array([run.loss for run in runs]))
    residual = present(fit.residual)
    assert (residual.freedom, residual.sd) == pytest.approx((len(runs) - 11, math.sqrt(left[0] / (len(runs) - 11))))
    i = 3 * variants.index("routed")
    assert optimum(fit, "routed").place.value == pytest.approx(11 - found[i + 1] / (2 * found[i + 2]))
    lowest = [found[j] - found[j + 1] ** 2 / (4 * found[j + 2]) for j in (0, i)]
    assert present(fit.difference("routed", "dense")).value == pytest.approx(lowest[1] - lowest[0])
    assert fit.predicted("routed")[11.0].value == pytest.approx(found[i] + (found[9] + found[10]) / 3)


@given(st.floats(-50, 50), st.floats(-5, 5), st.integers(0, 99))
def test_what_moves_all_losses_or_all_sizes_moves_the_optimum_alone(shift: float, along: float, seed: int) -> None:
    runs = swept(seed)
    one = JointFit(runs)
    other = JointFit([Run(run.variant, run.x + along, run.seed, run.loss + shift) for run in runs])
    mine, theirs = optimum(one, "dense"), optimum(other, "dense")
    moved = (mine.place.value + along, mine.loss.value + shift)
    assert (theirs.place.value, theirs.loss.value) == pytest.approx(moved, abs=1e-6)
    apart, again = (present(each.difference("routed", "dense")) for each in (one, other))
    assert (again.low, again.high) == pytest.approx((apart.low, apart.high), abs=1e-6)


def test_pairs_of_two_variants_of_one_size_are_a_paired_t_test() -> None:
    losses = {"a": [2.0, 2.1, 1.9, 2.3], "b": [2.05, 2.2, 1.93, 2.41]}
    residual = present(JointFit([Run(v, 11.0, i, loss) for v in losses for i, loss in enumerate(losses[v])]).residual)
    assert residual.freedom == pytest.approx(3)
    assert math.sqrt(2) * residual.sd == pytest.approx(np.std(np.subtract(losses["a"], losses["b"]), ddof=1))


def test_seeds_that_no_variant_shares_are_groups_of_their_own() -> None:
    sides = (("a", (0, 1), 2.0), ("b", (2, 3), 1.5))
    runs = [
        Run(v, x, seed, height + 0.1 * (x - 11) ** 2 + shift)
        for v, seeds, height in sides
        for seed, shift in zip(seeds, (-0.3, 0.3), strict=True)
        for x in (10.0, 11.0, 12.5)
    ]
    assert linked(runs) == [[0, 1], [2, 3]]
    assert linked([*runs, Run("c", 1.0, 1, 0.0), Run("c", 1.0, 2, 0.0)]) == [[0, 1, 2, 3]]
    assert present(JointFit(runs).difference("b", "a")).value == pytest.approx(-0.5)


def test_variants_of_unequal_spread_have_their_own() -> None:
    runs = swept(0, seeds=12, noise=(0.04, 0.01, 0.01))
    fit = JointFit(runs)
    spreads = {variant: present(fit.spread(variant)).sd for variant in bench.LOWEST}
    assert spreads == pytest.approx({"dense": 0.04, "routed": 0.01, "noise": 0.01}, rel=0.35)
    few = JointFit([run for run in runs if run.seed < 2 and run.x > 10.5])
    assert few.spread("dense") == few.spread("routed") == few.residual


def test_a_shared_bend_gives_two_sizes_an_optimum() -> None:
    sides = (("a", 2.0, 11.1, (10.0, 11.0, 12.0)), ("b", 1.8, 10.7, (10.0, 12.0)))
    runs = [
        Run(v, x, seed, low + 0.2 * (x - at) ** 2 + 0.1 * seed)
        for v, low, at, sizes in sides
        for x in sizes
        for seed in (0, 1)
    ]
    assert JointFit(runs).optimum("b") == too_few(2)
    found = optimum(JointFit(runs, shared_bend=True), "b")
    assert (found.place.value, found.loss.value) == pytest.approx((10.7, 1.85))
    lines = JointFit([run for run in runs if run.x != 11.0], shared_bend=True)
    assert lines.optimum("a") == too_few(2)


# --- intervals


@pytest.mark.slow
def test_intervals_hold_the_truth() -> None:
    told = bench.coverage(bench.World(offset=0.02), 500)
    for name in ("place", "loss", "difference"):
        assert 0.915 < told[name] < 0.985, name


def test_without_the_offsets_of_seeds_an_optimum_would_seem_too_certain() -> None:
    """The same seeds for all: their offset cancels in differences, and widens the interval of a loss."""
    fit = JointFit(swept(2, offset=0.3))
    loss, apart = optimum(fit, "dense").loss, present(fit.difference("routed", "dense"))
    assert present(loss.error) > 5 * present(apart.error)
    over_seeds = present(fit.over_seeds)
    assert over_seeds.sd > 5 * present(fit.residual).sd
    assert over_seeds.freedom == pytest.approx(2, abs=0.5)
    assert stats.t.ppf(0.975, 2) * present(loss.error) == pytest.approx(present(loss.high) - loss.value, rel=0.1)
