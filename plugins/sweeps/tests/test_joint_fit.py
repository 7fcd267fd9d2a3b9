"""One fit over all runs of a sweep: planted curves come back, intervals hold the truth, a lacking optimum has a reason."""

from __future__ import annotations

import itertools
import math

import joint_fit as bench
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from present import of_type, present
from scipy import stats

from modbench.harness.stats.reason import Reason
from modbench.plugins.sweeps.joint_fit import FLAT, LARGER, SMALLER, JointFit, Optimum, Run, linked, too_few


def one_curve(x: list[float], losses: list[float]) -> JointFit:
    return JointFit([Run("v", place, 0, loss) for place, loss in zip(x, losses, strict=True)])


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
    found = of_type(Optimum, one_curve(x, [lowest + bend * (each - at) ** 2 for each in x]).optimum("v"))
    assert found.place.value == pytest.approx(at, abs=1e-3)
    assert found.loss.value == pytest.approx(lowest, abs=1e-3)
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
    fit = one_curve([10.0, 11.0, 12.0][: len(losses)], losses)
    assert fit.optimum("v") == reason
    assert fit.difference("v", "v") is None
    assert list(fit.predicted("v")) == [10.0, 11.0, 12.0][: len(losses)]
    assert fit.predicted("v")[10.0].value == pytest.approx(losses[0])
    assert fit.best("v") == 10.0 + losses.index(min(losses)) or losses == [1.0, 2.0, 1.0]


def test_it_is_least_squares_with_a_column_for_each_seed() -> None:
    """The same fit with seeds coded otherwise, and with the losses' covariance from first principles."""
    world = bench.World(noise=(0.02, 0.02, 0.02), offset=0.05)
    runs = bench.swept(world, np.random.default_rng(3))[:-4]  # a variant lacks some runs
    fit = JointFit(runs)
    variants, rows = sorted({run.variant for run in runs}), []
    for run in runs:
        curve = np.zeros(9)
        i = 3 * variants.index(run.variant)
        curve[i : i + 3] = 1, run.x - 11, (run.x - 11) ** 2
        rows.append([*curve, run.seed == 1, run.seed == 2])
    design, losses = np.array(rows, float), np.array([run.loss for run in runs])
    found, left, *_ = np.linalg.lstsq(design, losses)
    assert fit.residual is not None
    assert fit.residual.freedom == pytest.approx(len(runs) - 11)
    assert fit.residual.sd == pytest.approx(math.sqrt(left[0] / (len(runs) - 11)))
    i = 3 * variants.index("routed")
    optimum = of_type(Optimum, fit.optimum("routed"))
    assert optimum.place.value == pytest.approx(11 - found[i + 1] / (2 * found[i + 2]))
    lowest = [found[j] - found[j + 1] ** 2 / (4 * found[j + 2]) for j in (0, i)]
    apart = present(fit.difference("routed", "dense"))
    assert apart.value == pytest.approx(lowest[1] - lowest[0])
    mean = fit.predicted("routed")[11.0].value
    assert mean == pytest.approx(found[i] + (found[9] + found[10]) / 3)


def test_rounding_decides_about_no_interval() -> None:
    """Three sizes with two seeds leave two degrees of freedom, which come out a little more or less than that."""
    rng = np.random.default_rng(0)
    for first in np.linspace(9.0, 14.0, 40):
        places = [float(first), float(first) + 0.7, float(first) + 1.1]
        runs = [Run("v", x, seed, 2 + (x - places[1]) ** 2 + rng.normal(0, 1e-3)) for x in places for seed in (0, 1)]
        fit = JointFit(runs)
        assert present(fit.residual).freedom == 2
        found = of_type(Optimum, fit.optimum("v"))
        assert found.place.low is not None


def test_one_variant_of_one_size_is_a_mean_over_seeds() -> None:
    losses = [2.0, 2.1, 1.9, 2.3]
    fit = JointFit([Run("v", 11.0, seed, loss) for seed, loss in enumerate(losses)])
    assert fit.residual is None  # an offset for each seed leaves nothing over
    assert fit.predicted("v")[11.0].value == pytest.approx(np.mean(losses))
    assert fit.predicted("v")[11.0].error is None


def test_pairs_of_two_variants_of_one_size_are_a_paired_t_test() -> None:
    mine, theirs = [2.0, 2.1, 1.9, 2.3], [2.05, 2.2, 1.93, 2.41]
    runs = [Run(v, 11.0, seed, loss) for v, losses in (("a", mine), ("b", theirs)) for seed, loss in enumerate(losses)]
    residual = present(JointFit(runs).residual)
    assert residual.freedom == pytest.approx(3)
    assert math.sqrt(2) * residual.sd == pytest.approx(np.std(np.subtract(mine, theirs), ddof=1))


def test_seeds_that_no_variant_shares_are_groups_of_their_own() -> None:
    runs = [Run("a", 1.0, s, 0.0) for s in (0, 1)] + [Run("b", 1.0, s, 0.0) for s in (2, 3)]
    assert linked(runs) == [[0, 1], [2, 3]]
    assert linked([*runs, Run("c", 1.0, 1, 0.0), Run("c", 1.0, 2, 0.0)]) == [[0, 1, 2, 3]]
    apart = [
        Run(v, x, seed, height + 0.1 * (x - 11) ** 2 + shift)
        for v, seeds, height in (("a", (0, 1), 2.0), ("b", (2, 3), 1.5))
        for seed, shift in zip(seeds, (-0.3, 0.3), strict=True)
        for x in (10.0, 11.0, 12.5)
    ]
    found = present(JointFit(apart).difference("b", "a"))
    assert found.value == pytest.approx(-0.5)


def test_variants_of_unequal_spread_have_their_own() -> None:
    runs = bench.swept(bench.World(seeds=12, noise=(0.04, 0.01, 0.01)), np.random.default_rng(0))
    fit = JointFit(runs)
    spreads = {variant: fit.spread(variant) for variant in bench.LOWEST}
    for variant, sd in (("dense", 0.04), ("routed", 0.01), ("noise", 0.01)):
        spread = present(spreads[variant])
        assert spread.sd == pytest.approx(sd, rel=0.35)
    few = JointFit([run for run in runs if run.seed < 2 and run.x > 10.5])
    assert few.spread("dense") == few.spread("routed") == few.residual


def test_a_shared_bend_gives_two_sizes_an_optimum() -> None:
    sizes = {"a": (10.0, 11.0, 12.0), "b": (10.0, 12.0)}
    runs = [
        Run(v, x, seed, low + 0.2 * (x - at) ** 2 + 0.1 * seed)
        for v, low, at in (("a", 2.0, 11.1), ("b", 1.8, 10.7))
        for x in sizes[v]
        for seed in (0, 1)
    ]
    assert JointFit(runs).optimum("b") == too_few(2)
    found = of_type(Optimum, JointFit(runs, shared_bend=True).optimum("b"))
    assert found.place.value == pytest.approx(10.7)
    assert found.loss.value == pytest.approx(1.85)
    lines = JointFit([run for run in runs if run.x != 11.0], shared_bend=True)
    assert lines.optimum("a") == too_few(2)


@given(st.floats(-50, 50), st.floats(-5, 5), st.integers(0, 99))
def test_what_moves_all_losses_or_all_sizes_moves_the_optimum_alone(shift: float, along: float, seed: int) -> None:
    runs = bench.swept(bench.World(), np.random.default_rng(seed))
    moved = [Run(run.variant, run.x + along, run.seed, run.loss + shift) for run in runs]
    one, other = JointFit(runs), JointFit(moved)
    mine, theirs = of_type(Optimum, one.optimum("dense")), of_type(Optimum, other.optimum("dense"))
    assert theirs.place.value == pytest.approx(mine.place.value + along, abs=1e-6)
    assert theirs.loss.value == pytest.approx(mine.loss.value + shift, abs=1e-6)
    apart, again = (each.difference("routed", "dense") for each in (one, other))
    assert apart is not None
    assert again is not None
    assert (again.low, again.high) == pytest.approx((apart.low, apart.high), abs=1e-6)


def test_an_end_is_open_where_the_curve_may_not_bend() -> None:
    rng = np.random.default_rng(1)
    made = [JointFit(bench.swept(bench.World(noise=(0.3, 0.3, 0.3)), rng)).optimum("dense") for _ in range(30)]
    found = [each for each in made if isinstance(each, Optimum)]
    assert any(each.place.low is None and each.place.high is None for each in found)
    assert all(each.loss.low is not None for each in found)
    assert any(isinstance(each, Reason) for each in made)


@pytest.mark.slow
def test_intervals_hold_the_truth() -> None:
    told = bench.coverage(bench.World(offset=0.02), 500)
    for name in ("place", "loss", "difference"):
        assert 0.915 < told[name] < 0.985, name


def test_without_the_offsets_of_seeds_an_optimum_would_seem_too_certain() -> None:
    """The same seeds for all: their offset cancels in differences, and widens the interval of a loss."""
    runs = bench.swept(bench.World(offset=0.3), np.random.default_rng(2))
    fit = JointFit(runs)
    found, apart = of_type(Optimum, fit.optimum("dense")), present(fit.difference("routed", "dense"))
    assert found.loss.error is not None
    assert found.loss.error > 5 * present(apart.error)
    assert fit.over_seeds is not None
    assert fit.over_seeds.sd > 5 * present(fit.residual).sd
    assert fit.over_seeds.freedom == pytest.approx(2, abs=0.5)
    with pytest.raises(ValueError, match="needs runs"):
        JointFit([])
    assert stats.t.ppf(0.975, 2) * found.loss.error == pytest.approx((found.loss.high or 0) - found.loss.value, rel=0.1)
