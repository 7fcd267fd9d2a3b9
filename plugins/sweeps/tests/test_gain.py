"""The compute-equivalent gain, from dense models or the fall of a loss: closed forms, properties, how often it is right."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import exchange as bench
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from present import present

from modbench.harness.stats.effects import over_processes
from modbench.harness.stats.fieller import Line
from modbench.harness.stats.reason import Reason
from modbench.plugins.sweeps.gain import statistics as exchange
from modbench.plugins.sweeps.gain.statistics import FLAT, Fall, Rate, crossing, from_fall, rate

SEEDS = (0.3, -0.2, 0.1, 0.05, -0.1)
# Log compute of three dense models over that of a variant.
COSTS = [[math.log(0.5)], [math.log(0.8)], [math.log(1.25)]]


def over_seeds(*losses: float, noise: float = 0.0, seeds: int = 5) -> list[list[float]]:
    """Losses by seed: an offset that all variants of a seed share, and noise of each run."""
    rng = np.random.default_rng(1)
    return [[loss + SEEDS[seed] + noise * rng.normal() for seed in range(seeds)] for loss in losses]


def found(*losses: float, noise: float = 1e-3, seeds: int = 5, turns: bool = False) -> Rate:
    """The rate of the last loss on a ladder of the others, counted."""
    *dense_variants, variant = over_seeds(*losses, noise=noise, seeds=seeds)
    return rate(crossing(dense_variants, variant, turns=turns), COSTS[: len(dense_variants)], counted=True)


def test_between_two_models_it_is_interpolated_over_the_logarithm() -> None:
    made = found(2.4, 2.2, 2.0, 2.15, noise=0.0)
    assert made.kind == "rate"
    assert made.value == pytest.approx(0.8**0.75 * 1.25**0.25)
    assert made.low == pytest.approx(made.value)
    assert made.high == pytest.approx(made.value)
    assert (made.seeds, made.processes, made.illustration) == (5, 0, False)


def test_the_interval_ends_where_a_paired_t_test_begins_to_see_a_difference() -> None:
    *dense_variants, variant = over_seeds(2.4, 2.2, 2.0, 2.15, noise=0.01)
    place = crossing(dense_variants, variant)
    for at, sign in ((place.low, -1), (place.high, 1)):
        assert at is not None
        i = int(at)
        curve = [a + (at - i) * (b - a) for a, b in zip(dense_variants[i], dense_variants[i + 1], strict=True)]
        effect = over_processes([mine - theirs for mine, theirs in zip(variant, curve, strict=True)])
        edge = effect.high if sign < 0 else effect.low
        assert edge == pytest.approx(0, abs=1e-12)
        assert effect.value * sign > 0


def test_processes_widen_the_interval_of_seconds_alone() -> None:
    *dense_variants, variant = over_seeds(2.4, 2.2, 2.0, 2.15, noise=1e-3)
    place = crossing(dense_variants, variant)
    exact = rate(place, COSTS, counted=True)
    rng = np.random.default_rng(0)
    costs = [
        [cost[0] + each for each in (noise - noise.mean())] for cost in COSTS for noise in [rng.normal(0, 0.05, 6)]
    ]
    timed = rate(place, costs, counted=False)
    assert timed.value == pytest.approx(exact.value)
    assert (exact.processes, timed.processes) == (0, 6)
    assert present(timed.low) < present(exact.low) * 0.99
    assert present(timed.high) > present(exact.high) * 1.01
    # Where seeds say nothing of their own, what is left is the t interval of the processes at that place.
    still = rate(replace(place, low=place.at, high=place.at), costs, counted=False)
    share = present(place.at) - 1
    at = over_processes([a + share * (b - a) for a, b in zip(costs[1], costs[2], strict=True)])
    assert still.low == pytest.approx(math.exp(present(at.low)))


@pytest.mark.parametrize(
    ("variant", "kind", "low", "high"),
    [(1.9, "bound_below", 1.25, None), (2.5, "bound_above", None, 0.5)],
)
def test_outside_the_ladder_there_is_a_bound_and_no_number(
    variant: float, kind: str, low: float | None, high: float | None
) -> None:
    made = found(2.4, 2.2, 2.0, variant)
    assert made.kind == kind
    assert made.value is None
    assert (made.low, made.high) == (low and pytest.approx(low), high and pytest.approx(high))


def test_a_bound_takes_the_noise_into_account() -> None:
    """Better than the largest dense model by less than its margin: more than a smaller one, not more than the largest."""
    made = found(2.4, 2.2, 2.0, 1.99, noise=0.02)
    assert made.kind == "bound_below"
    assert 0.8 < present(made.low) < 1.25


@pytest.mark.parametrize(
    ("losses", "turns", "reason"),
    [
        ((2.0, 1.9), False, exchange.FEW_POINTS),
        ((2.0, 2.1, 1.9), False, exchange.NOT_FALLING),
        ((2.0, 2.0001, 1.9), False, exchange.NOT_FALLING),
        ((2.2, 1.9, 2.0, 2.05), False, exchange.NOT_FALLING),  # the largest is worse than the second
        ((2.0, 2.1, 1.9), True, exchange.NOT_FALLING),
    ],
)
def test_where_a_larger_model_is_no_better_there_is_no_number(
    losses: tuple[float, ...], turns: bool, reason: Reason
) -> None:
    made = found(*losses, turns=turns)
    assert made.kind == "none"
    assert made.reason == reason
    assert (made.value, made.low, made.high) == (None, None, None)


def test_a_ladder_that_falls_by_less_than_its_noise_is_none() -> None:
    fall = (0.05, -0.02, 0.04, -0.01, 0.02)  # 0.016 lower in the mean
    dense_variants = [
        [2.0 + seed for seed in SEEDS],
        [2.0 + seed - each for seed, each in zip(SEEDS, fall, strict=True)],
    ]
    place = crossing(dense_variants, [1.99 + seed for seed in SEEDS])
    assert (place.kind, place.reason) == ("none", exchange.NOT_FALLING)


def test_at_equal_training_flops_the_curve_is_read_up_to_its_lowest_point() -> None:
    made = found(2.2, 1.9, 2.0, 2.05, turns=True)
    assert made.kind == "rate"
    assert made.value == pytest.approx(math.sqrt(0.5 * 0.8), rel=0.01)
    assert found(2.2, 1.9, 2.0, 1.85, turns=True).low == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("costs", "reason"),
    [([1.0, 1.01, 0.99], exchange.EQUAL_COST), ([1.2, 1.0, 0.8], exchange.NOT_DEARER)],
)
def test_where_better_dense_models_are_not_dearer_they_have_no_price(costs: list[float], reason: Reason) -> None:
    *dense_variants, variant = over_seeds(2.4, 2.2, 2.0, 2.15, noise=1e-3)
    made = rate(crossing(dense_variants, variant), [[math.log(each)] for each in costs], counted=True)
    assert (made.kind, made.value, made.reason) == ("none", None, reason)


def test_few_seeds_illustrate_and_have_no_interval() -> None:
    for seeds in (1, 2):
        made = found(2.4, 2.2, 2.0, 2.15, noise=0.0, seeds=seeds)
        assert made.illustration
        assert made.value == pytest.approx(0.8**0.75 * 1.25**0.25)
        assert (made.low, made.high) == (None, None)
        assert made.reason == Reason("{n:seed}: three give an interval", n=seeds)
        assert found(2.4, 2.2, 2.0, 1.9, noise=0.0, seeds=seeds).low == pytest.approx(1.25)
        # Without an interval nobody knows whether a ladder that turns does so by chance.
        assert found(2.4, 1.9, 2.0, 2.15, noise=0.0, seeds=seeds).kind == "none"


def test_two_processes_illustrate() -> None:
    *dense_variants, variant = over_seeds(2.4, 2.2, 2.0, 2.15, noise=1e-3)
    made = rate(crossing(dense_variants, variant), [[c[0], c[0] + 0.01] for c in COSTS], counted=False)
    assert made.illustration
    assert (made.low, made.high) == (None, None)
    assert made.reason == Reason("few_processes", n=2)


def test_noise_that_hides_everything_gives_no_number() -> None:
    """The dense models falls, but the variant's own runs scatter over all of it."""
    dense_variants = over_seeds(2.4, 2.2, 2.0)
    variant = [2.2 + offset + wide for offset, wide in zip(SEEDS, (0.8, -0.9, 0.5, -0.6, 0.2), strict=True)]
    made = rate(crossing(dense_variants, variant), COSTS, counted=True)
    assert (made.kind, made.reason) == ("none", exchange.UNDECIDED)


LOSSES = st.lists(st.floats(-0.05, 0.05), min_size=5, max_size=5)


@st.composite
def dense_curves(draw: st.DrawFn) -> tuple[list[list[float]], list[float]]:
    """A ladder that falls but for its noise, and a variant somewhere near it."""
    points = draw(st.integers(2, 4))
    dense_variants = [[2.0 - 0.2 * i + SEEDS[s] + each for s, each in enumerate(draw(LOSSES))] for i in range(points)]
    middle = draw(st.floats(2.0 - 0.2 * points, 2.1))
    return dense_variants, [middle + SEEDS[s] + each for s, each in enumerate(draw(LOSSES))]


def costs_of(points: int, moved: float = 0.0) -> list[list[float]]:
    return [[0.3 * i - 0.4 + moved] for i in range(points)]


@given(dense_curves(), st.floats(-5, 5))
def test_a_unit_of_compute_changes_nothing_and_a_dearer_variant_is_slower(
    made: tuple[list[list[float]], list[float]], moved: float
) -> None:
    """Costs enter as ratios to the variant's; if all ratios grow by a factor, so do rate and interval."""
    place = crossing(*made)
    one = rate(place, costs_of(len(made[0])), counted=True)
    other = rate(place, costs_of(len(made[0]), moved), counted=True)
    assert one.kind == other.kind
    for a, b in ((one.value, other.value), (one.low, other.low), (one.high, other.high)):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            assert b == pytest.approx(a * math.exp(moved), rel=1e-9)


@given(dense_curves(), st.floats(0, 0.5))
def test_a_lower_loss_never_lowers_it(made: tuple[list[list[float]], list[float]], better: float) -> None:
    dense_variants, variant = made
    before, after = (crossing(dense_variants, losses) for losses in (variant, [each - better for each in variant]))
    order = {"before": 0, "inside": 1, "beyond": 2}
    assume(before.kind != "none")
    assert order[after.kind] >= order[before.kind]
    if before.at is not None and after.at is not None:
        assert after.at >= before.at - 1e-9
    # An open lower end lies before all places, an open upper end beyond them.
    assert (-1.0 if after.low is None else after.low) >= (-1.0 if before.low is None else before.low) - 1e-6
    assert (9.0 if after.high is None else after.high) >= (9.0 if before.high is None else before.high) - 1e-6


@given(dense_curves())
def test_the_interval_holds_the_estimate(made: tuple[list[list[float]], list[float]]) -> None:
    place = crossing(*made)
    at = {"inside": place.at, "beyond": place.points - 1.0, "before": 0.0}.get(place.kind)
    assume(at is not None)
    assert at is not None
    assert place.low is None or place.low <= at + 1e-9
    assert place.high is None or place.high >= at - 1e-9


@given(dense_curves(), st.data())
def test_every_dense_model_against_itself_is_one(
    made: tuple[list[list[float]], list[float]], data: st.DataObject
) -> None:
    dense_variants, _ = made
    i = data.draw(st.integers(0, len(dense_variants) - 1))
    assume(crossing(dense_variants, dense_variants[i]).kind != "none")
    costs = [[each[0] - costs_of(len(dense_variants))[i][0]] for each in costs_of(len(dense_variants))]
    made_of = rate(crossing(dense_variants, dense_variants[i]), costs, counted=True)
    assert (made_of.kind, made_of.value, made_of.low, made_of.high) == ("rate", 1.0, 1.0, 1.0)


def test_the_places_do_not_depend_on_the_order_of_the_seeds() -> None:
    *dense_variants, variant = over_seeds(2.4, 2.2, 2.0, 2.15, noise=0.02)
    wanted = crossing(dense_variants, variant)
    for order in itertools.islice(itertools.permutations(range(5)), 3, 6):
        turned = crossing([[point[i] for i in order] for point in dense_variants], [variant[i] for i in order])
        assert [turned.at, turned.low, turned.high] == pytest.approx([wanted.at, wanted.low, wanted.high])


@pytest.mark.parametrize("name", [name for name, _ in bench.worlds()])
def test_its_interval_holds_the_truth(name: str) -> None:
    """On small counts; `benchmarks/exchange.py` prints the table of the documentation."""
    world = dict(bench.worlds())[name]
    made = bench.shares(world, 120)
    assert made.held >= 0.9
    assert made.stated >= 0.9


# --- from the fall of a loss


def test_a_loss_that_falls_by_a_tenth_with_every_e_fold_buys_an_e_fold_for_a_tenth() -> None:
    """With a known fall the interval is that of the difference."""
    found = from_fall(-0.1, 0.02, Fall(0.1, 0.0))
    assert [found.low, found.value, found.high] == pytest.approx([math.exp(0.8), math.e, math.exp(1.2)])


@pytest.mark.parametrize("fall", [Fall(0.1, 0.11), Fall(0.1, 0.1), Fall(-0.1, 0.01), Fall(0.0, 0.0)])
def test_a_loss_that_may_not_fall_has_no_price(fall: Fall) -> None:
    found = from_fall(-0.1, 0.02, fall)
    assert found.value is None
    assert found.reason == FLAT


def test_without_an_interval_of_the_difference_there_is_none_of_the_speed_up() -> None:
    found = from_fall(-0.1, None, Fall(0.1, 0.01))
    assert (found.low, found.high) == (None, None)
    assert found.value is not None


@given(st.floats(-0.5, 0.5), st.floats(0.001, 0.2), st.floats(0.01, 1.0), st.floats(0.0, 0.9))
def test_the_interval_holds_the_value_and_no_difference_is_no_speed_up(
    difference: float, half: float, per_fold: float, unsure: float
) -> None:
    found = from_fall(difference, half, Fall(per_fold, per_fold * unsure))
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value * (1 + 1e-9)
    assert found.value <= found.high * (1 + 1e-9)
    # The interval leaves 1 out where that of the difference leaves 0 out, and nowhere else.
    assert (found.low > 1 or found.high < 1) == (abs(difference) > half)


def test_the_interval_holds_the_truth_in_95_of_100_cases() -> None:
    rng, held = np.random.default_rng(0), 0
    truth, sd, fall, fall_sd = -0.05, 0.01, 0.12, 0.015
    for _ in range(4000):
        difference, per_fold = rng.normal(truth, sd), rng.normal(fall, fall_sd)
        found = from_fall(difference, 1.96 * sd, Fall(per_fold, 1.96 * fall_sd))
        held += present(found.low) <= math.exp(-truth / fall) <= present(found.high)
    assert held / 4000 == pytest.approx(0.95, abs=0.012)


def test_a_loss_that_hardly_falls_makes_no_factor_beyond_all_numbers() -> None:
    for sign in (-1, 1):
        found = from_fall(sign * 0.5, 0.01, Fall(1e-5, 1e-6))
        assert found.value is None
        assert found.reason is not None
    open_above = from_fall(-0.1, 0.02, Fall(0.1, 0.1 - 1e-9))
    assert open_above.value == pytest.approx(math.e)
    assert open_above.high is None


# --- where a line reaches 0

NUMBERS = st.floats(-10, 10)
ERRORS = st.floats(0.01, 5)


@given(NUMBERS, NUMBERS, ERRORS, ERRORS, st.floats(-0.95, 0.95), st.floats(1, 5))
def test_at_the_edges_a_test_begins_to_tell_the_line_from_0(
    start: float, slope: float, error: float, slope_error: float, correlation: float, quantile: float
) -> None:
    line = Line(start, slope, error**2, correlation * error * slope_error, slope_error**2)

    def told(place: float) -> bool:
        variance = error**2 + 2 * place * line.covariance + place**2 * slope_error**2
        return abs(start + place * slope) > quantile * math.sqrt(variance)

    # Where the two places are one, the estimate is as large as its margin there and nowhere larger.
    a = slope**2 - (quantile * slope_error) ** 2
    b = start * slope - quantile**2 * line.covariance
    assume(abs(b * b - a * (start**2 - (quantile * error) ** 2)) > 1e-9)
    edges = line.edges(quantile)
    for edge in edges:
        step = 1e-4 * (1 + abs(edge)) if len(edges) < 2 else 1e-4 * min(1 + abs(edge), abs(edges[0] - edges[1]))
        if step > 1e-9:
            assert told(edge - step) != told(edge + step)
    found = line.interval(quantile)
    assert (found is None) == (abs(slope) <= quantile * slope_error)
    if found is not None:
        assert found[0] <= -start / slope <= found[1]
        assert not told((found[0] + found[1]) / 2)


def test_what_does_not_vary_has_one_place() -> None:
    assert Line(-1.0, 2.0, 0.0, 0.0, 0.0).interval(2.0) == (0.5, 0.5)
    assert Line(0.0, 2.0, 0.0, 0.0, 0.0).interval(2.0) == (0.0, 0.0)
    assert Line(1.0, 0.0, 0.0, 0.0, 0.0).interval(2.0) is None


def test_with_one_quantile_halving_finds_the_root_of_the_quadratic() -> None:
    line = Line(-0.5, 1.0, 0.01, -0.01, 0.02)
    low, high = line.interval(2.0) or (None, None)
    assert line.reached(lambda _: 2.0, 1) == pytest.approx(low)
    # From the other side the lower end falls to 0.
    turned = Line(0.5, -1.0, 0.01, -0.01, 0.02)
    assert high is not None
    assert turned.reached(lambda _: 2.0, -1) == pytest.approx(1 - high)
