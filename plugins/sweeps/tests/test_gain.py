"""The compute-equivalent gain, from dense models or the fall of a loss: closed forms, properties, how often it is right."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import exchange as bench
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from present import present

from modbench.harness.stats.effects import over_processes
from modbench.harness.stats.fieller import Line
from modbench.harness.stats.reason import Reason
from modbench.plugins.sweeps.gain.statistics import (
    EQUAL_COST,
    FEW_POINTS,
    FLAT,
    NOT_DEARER,
    NOT_FALLING,
    UNDECIDED,
    Fall,
    Rate,
    crossing,
    from_fall,
    rate,
)

SEEDS = (0.3, -0.2, 0.1, 0.05, -0.1)
# Losses of three dense models, and compute over that of a variant.
LADDER, COSTS = (2.4, 2.2, 2.0), (0.5, 0.8, 1.25)
# A loss a quarter above that of the second of them costs, by the logarithm:
BETWEEN = 0.8**0.75 * 1.25**0.25


def over_seeds(*losses: float, noise: float = 0.0, seeds: int = 5) -> list[list[float]]:
    """Losses by seed: an offset that all variants of a seed share, and noise of each run."""
    rng = np.random.default_rng(1)
    return [[loss + SEEDS[seed] + noise * rng.normal() for seed in range(seeds)] for loss in losses]


def found(*losses: float, turns: bool = False, costs: Any = COSTS, **how: Any) -> Rate:
    """The rate of the last loss on a ladder of the others, counted."""
    *dense_variants, variant = over_seeds(*losses, **{"noise": 1e-3, **how})
    place = crossing(dense_variants, variant, turns=turns)
    return rate(place, [[math.log(each)] for each in costs[: len(dense_variants)]], counted=True)


@pytest.mark.parametrize(
    ("losses", "how", "kind", "value", "low", "high"),
    [
        pytest.param((*LADDER, 2.15), {}, "rate", BETWEEN, BETWEEN, BETWEEN, id="between two, over the logarithm"),
        pytest.param((*LADDER, 1.9), {}, "bound_below", None, 1.25, None, id="better than the largest"),
        pytest.param((*LADDER, 2.5), {}, "bound_above", None, None, 0.5, id="worse than the smallest"),
        pytest.param((2.2, 1.9, 2.0, 2.05), {"turns": True}, "rate", *[math.sqrt(0.4)] * 3, id="to the lowest point"),
        pytest.param((2.2, 1.9, 2.0, 1.85), {"turns": True}, "bound_below", None, 0.8, None, id="below a lowest point"),
        pytest.param((*LADDER, 2.15), {"seeds": 2}, "rate", BETWEEN, None, None, id="two seeds have no interval"),
        pytest.param((*LADDER, 1.9), {"seeds": 1}, "bound_below", None, 1.25, None, id="a bound of one seed"),
    ],
)
def test_where_a_loss_lies_on_a_ladder(
    losses: tuple[float, ...],
    how: dict[str, Any],
    kind: str,
    value: float | None,
    low: float | None,
    high: float | None,
) -> None:
    made = found(*losses, noise=0.0, **how)
    assert made.kind == kind
    wanted = [each and pytest.approx(each, rel=1e-6) for each in (value, low, high)]
    assert [made.value, made.low, made.high] == wanted
    seeds = how.get("seeds", 5)
    few = Reason("{n:seed}: three give an interval", n=seeds)
    assert (made.seeds, made.processes, made.illustration, made.reason) == (
        (seeds, 0, True, few) if seeds < 3 else (seeds, 0, False, None)
    )


@pytest.mark.parametrize(
    ("losses", "how", "reason"),
    [
        ((2.0, 1.9), {}, FEW_POINTS),
        ((2.0, 2.0001, 1.9), {}, NOT_FALLING),
        ((2.2, 1.9, 2.0, 2.05), {}, NOT_FALLING),  # the largest is worse than the second
        ((2.0, 2.1, 1.9), {"turns": True}, NOT_FALLING),
        ((2.4, 1.9, 2.0, 2.15), {"seeds": 2}, NOT_FALLING),  # nobody knows whether it turns by chance
        ((2.0, 1.984, 1.99), {"noise": 0.1}, NOT_FALLING),  # by less than its noise
        ((*LADDER, 2.15), {"costs": (1.0, 1.01, 0.99)}, EQUAL_COST),
        ((*LADDER, 2.15), {"costs": (1.2, 1.0, 0.8)}, NOT_DEARER),
    ],
)
def test_where_there_is_no_number_there_is_a_reason(
    losses: tuple[float, ...], how: dict[str, Any], reason: Reason
) -> None:
    made = found(*losses, **how)
    assert (made.kind, made.reason, made.value, made.low, made.high) == ("none", reason, None, None, None)


def test_noise_of_a_variant_that_hides_everything_gives_no_number() -> None:
    scattered = [2.2 + offset + wide for offset, wide in zip(SEEDS, (0.8, -0.9, 0.5, -0.6, 0.2), strict=True)]
    made = rate(crossing(over_seeds(*LADDER), scattered), [[math.log(each)] for each in COSTS], counted=True)
    assert (made.kind, made.reason) == ("none", UNDECIDED)


def test_a_bound_takes_the_noise_into_account() -> None:
    """Better than the largest dense model by less than its margin: more than a smaller one, not more than the largest."""
    made = found(*LADDER, 1.99, noise=0.02)
    assert made.kind == "bound_below"
    assert 0.8 < present(made.low) < 1.25


def test_the_interval_ends_where_a_paired_t_test_begins_to_see_a_difference() -> None:
    *dense_variants, variant = over_seeds(*LADDER, 2.15, noise=0.01)
    place = crossing(dense_variants, variant)
    for end, sign in ((place.low, -1), (place.high, 1)):
        at = present(end)
        i = int(at)
        curve = [a + (at - i) * (b - a) for a, b in zip(dense_variants[i], dense_variants[i + 1], strict=True)]
        effect = over_processes([mine - theirs for mine, theirs in zip(variant, curve, strict=True)])
        assert (effect.high if sign < 0 else effect.low) == pytest.approx(0, abs=1e-12)
        assert effect.value * sign > 0


def test_processes_widen_the_interval_of_seconds_alone() -> None:
    *dense_variants, variant = over_seeds(*LADDER, 2.15, noise=1e-3)
    place, rng = crossing(dense_variants, variant), np.random.default_rng(0)
    noises = [noise - noise.mean() for noise in rng.normal(0, 0.05, (3, 6))]
    costs = [(math.log(cost) + noise).tolist() for cost, noise in zip(COSTS, noises, strict=True)]
    exact, timed = found(*LADDER, 2.15), rate(place, costs, counted=False)
    assert timed.value == pytest.approx(exact.value)
    assert (exact.processes, timed.processes) == (0, 6)
    assert present(timed.low) < present(exact.low) * 0.99
    assert present(timed.high) > present(exact.high) * 1.01
    # Where seeds say nothing of their own, what is left is the t interval of the processes at that place.
    still = rate(replace(place, low=place.at, high=place.at), costs, counted=False)
    share = present(place.at) - 1
    at = over_processes([a + share * (b - a) for a, b in zip(costs[1], costs[2], strict=True)])
    assert still.low == pytest.approx(math.exp(present(at.low)))
    two = rate(place, [each[:2] for each in costs], counted=False)
    assert (two.illustration, two.low, two.high, two.reason) == (True, None, None, Reason("few_processes", n=2))


# --- properties

LOSSES = st.lists(st.floats(-0.05, 0.05), min_size=5, max_size=5)
Drawn = tuple[list[list[float]], list[float]]


@st.composite
def dense_curves(draw: st.DrawFn) -> Drawn:
    """A ladder that falls but for its noise, and a variant somewhere near it."""
    points = draw(st.integers(2, 4))
    levels = [2.0 - 0.2 * i for i in range(points)] + [draw(st.floats(2.0 - 0.2 * points, 2.1))]
    *dense_variants, variant = [[level + SEEDS[s] + each for s, each in enumerate(draw(LOSSES))] for level in levels]
    return dense_variants, variant


def costs_of(points: int, moved: float = 0.0) -> list[list[float]]:
    return [[0.3 * i - 0.4 + moved] for i in range(points)]


@given(dense_curves(), st.floats(-5, 5), st.permutations(range(5)))
def test_a_unit_of_compute_and_the_order_of_seeds_change_nothing(made: Drawn, moved: float, order: list[int]) -> None:
    """Costs enter as ratios to the variant's; if all ratios grow by a factor, so do rate and interval."""
    turned = [[losses[seed] for seed in order] for losses in made[0]], [made[1][seed] for seed in order]
    one = rate(crossing(*made), costs_of(len(made[0])), counted=True)
    other = rate(crossing(*turned), costs_of(len(made[0]), moved), counted=True)
    assert one.kind == other.kind
    wanted = [each and pytest.approx(each * math.exp(moved), rel=1e-7) for each in (one.value, one.low, one.high)]
    assert [other.value, other.low, other.high] == wanted


@given(dense_curves(), st.floats(0, 0.5))
def test_a_lower_loss_never_lowers_it(made: Drawn, better: float) -> None:
    dense_variants, variant = made
    before, after = (crossing(dense_variants, losses) for losses in (variant, [each - better for each in variant]))
    order = ["before", "inside", "beyond"]
    assume(before.kind != "none")
    assert order.index(after.kind) >= order.index(before.kind)
    assert before.at is None or after.at is None or after.at >= before.at - 1e-9
    # An open lower end lies before all places, an open upper end beyond them.
    for end, open_ in (("low", -1.0), ("high", 9.0)):
        first, then = (open_ if place is None else place for place in (getattr(before, end), getattr(after, end)))
        assert then >= first - 1e-6, end


@given(dense_curves())
def test_the_interval_holds_the_estimate(made: Drawn) -> None:
    place = crossing(*made)
    at = {"inside": place.at, "beyond": place.points - 1.0, "before": 0.0}.get(place.kind)
    assume(at is not None)
    assert place.low is None or place.low <= present(at) + 1e-9
    assert place.high is None or place.high >= present(at) - 1e-9


@given(dense_curves(), st.data())
def test_every_dense_model_against_itself_is_one(made: Drawn, data: st.DataObject) -> None:
    dense_variants, _ = made
    i = data.draw(st.integers(0, len(dense_variants) - 1))
    place = crossing(dense_variants, dense_variants[i])
    assume(place.kind != "none")
    points = len(dense_variants)
    itself = rate(place, costs_of(points, -costs_of(points)[i][0]), counted=True)
    assert (itself.kind, itself.value, itself.low, itself.high) == ("rate", 1.0, 1.0, 1.0)


@pytest.mark.parametrize("name", [name for name, _ in bench.worlds()])
def test_its_interval_holds_the_truth(name: str) -> None:
    """On small counts; `benchmarks/exchange.py` prints the table of the documentation."""
    made = bench.shares(dict(bench.worlds())[name], 120)
    assert made.held >= 0.9
    assert made.stated >= 0.9


# --- from the fall of a loss


def test_a_loss_that_falls_by_a_tenth_with_every_e_fold_buys_an_e_fold_for_a_tenth() -> None:
    """With a known fall the interval is that of the difference."""
    made = from_fall(-0.1, 0.02, Fall(0.1, 0.0))
    assert [made.low, made.value, made.high] == pytest.approx([math.exp(0.8), math.e, math.exp(1.2)])
    without = from_fall(-0.1, None, Fall(0.1, 0.01))
    assert without.value == pytest.approx(math.e)
    assert (without.low, without.high) == (None, None)


@pytest.mark.parametrize("fall", [Fall(0.1, 0.11), Fall(0.1, 0.1), Fall(-0.1, 0.01), Fall(0.0, 0.0)])
def test_a_loss_that_may_not_fall_has_no_price(fall: Fall) -> None:
    made = from_fall(-0.1, 0.02, fall)
    assert (made.value, made.reason) == (None, FLAT)


@pytest.mark.parametrize("difference", [-0.5, 0.5])
def test_a_loss_that_hardly_falls_makes_no_factor_beyond_all_numbers(difference: float) -> None:
    made = from_fall(difference, 0.01, Fall(1e-5, 1e-6))
    assert made.value is None
    assert made.reason is not None
    open_above = from_fall(-0.1, 0.02, Fall(0.1, 0.1 - 1e-9))
    assert open_above.value == pytest.approx(math.e)
    assert open_above.high is None


@given(st.floats(-0.5, 0.5), st.floats(0.001, 0.2), st.floats(0.01, 1.0), st.floats(0.0, 0.9))
def test_the_interval_leaves_1_out_where_that_of_the_difference_leaves_0_out(
    difference: float, half: float, per_fold: float, unsure: float
) -> None:
    made = from_fall(difference, half, Fall(per_fold, per_fold * unsure))
    value, low, high = present(made.value), present(made.low), present(made.high)
    assert low <= value * (1 + 1e-9)
    assert value <= high * (1 + 1e-9)
    assert (low > 1 or high < 1) == (abs(difference) > half)


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
    made = line.interval(quantile)
    assert (made is None) == (abs(slope) <= quantile * slope_error)
    if made is not None:
        assert made[0] <= -start / slope <= made[1]
        assert not told((made[0] + made[1]) / 2)
