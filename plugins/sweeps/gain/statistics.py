"""The compute-equivalent gain: how much dense compute buys the loss of a variant, with an interval.

The dense models of a run, smallest first, are its scale. Between two of them the mean loss over seeds is interpolated linearly
over the logarithm of the compute. `crossing` finds where that curve has the variant's loss. Its interval is Fieller's (1954): the
places where the variant's loss minus the curve's, paired over seeds, does not differ from 0 by a t-test. That needs no
approximation: at the true place this difference is a mean of n paired values around 0. A place depends on the losses alone,
so that it has a price in FLOPs, in seconds and in bytes. `rate` divides that price by the variant's own. The processes of a
time are independent of the
seeds: on each side the two margins are combined in quadrature (Zou & Donner 2008), with Welch's degrees of freedom.

`from_fall` has one size of dense, trained with less compute as well: its loss falls by b nats with every e-fold of compute, so
that a loss that differs by d is that of exp(-d / b) times the compute. The logarithm of that is the place w where the line
d + w b reaches 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from modbench.extend import Line, Reason, over_processes, t_quantile

# With fewer seeds, or processes, there is no interval.
FEWEST = 3
# Ladders whose ends differ by less in compute (natural logarithm): training FLOPs of runs with equal budgets do.
LEAST_SPAN = 0.03
ROUNDING = 1e-9

# Why there is no compute-equivalent gain.
FEW_POINTS = Reason("it needs two sizes of dense")
NOT_FALLING = Reason("a larger dense model has no lower loss")
FLAT = Reason("the loss does not fall with compute by more than its standard deviation")
EQUAL_COST = Reason("the dense models cost the same in it")
NOT_DEARER = Reason("the dense models of lower loss do not cost more in it")
UNDECIDED = Reason("the seeds do not narrow it down: it may lie at any size of dense, or beyond")


@dataclass(frozen=True)
class Crossing:
    """Where the dense curve has the variant's loss. A place is counted in points of the dense models: 1.5 is midway from 1 to 2.

    Attributes:
        kind: `inside` the dense models; the variant is better than its last point (`beyond`), or worse than its first
            (`before`); `none` where the dense models is no curve to read from.
        at: the place; None unless inside.
        low: lower end of its 95 % interval; None: open, it may lie before the dense models.
        high: upper end; None: open, it may lie beyond the dense models.
        points: how many points of the dense models count, from the smallest.
        n: seeds.
        reason: why there is none, or no interval.
    """

    kind: Literal["inside", "beyond", "before", "none"]
    at: float | None = None
    low: float | None = None
    high: float | None = None
    points: int = 0
    n: int = 0
    reason: Reason | None = None


@dataclass(frozen=True)
class Rate:
    """Dense compute that has the variant's loss, divided by the variant's compute: above 1 the variant is cheaper.

    Attributes:
        kind: `rate`; `bound_below` (above `low`; no dense model measured is as good); `bound_above` (below `high`); `none`.
        value: the compute-equivalent gain; None unless the kind is `rate`.
        low: lower end of the 95 % interval; None: open, or no interval.
        high: upper end; likewise.
        seeds: number of seeds.
        processes: number of processes; 0 where the compute was counted.
        illustration: whether there are too few seeds or processes for an interval.
        reason: why there is no rate, or no interval.
    """

    kind: Literal["rate", "bound_below", "bound_above", "none"]
    value: float | None = None
    low: float | None = None
    high: float | None = None
    seeds: int = 0
    processes: int = 0
    illustration: bool = False
    reason: Reason | None = None


def crossing(dense_variants: Sequence[Sequence[float]], variant: Sequence[float], *, turns: bool = False) -> Crossing:
    """Find where the dense curve has the variant's loss.

    Args:
        dense_variants: losses by seed of each dense model, smallest first.
        variant: losses of the variant, by the same seeds.
        turns: whether the curve may rise again, as at equal training FLOPs: points beyond its lowest are left out.

    Returns: The place with its interval, from three seeds on. Kind `none` where the losses do not fall along the dense
        models: from three seeds on, where the largest is not significantly below the smallest or a larger one is
        significantly above a smaller one.
    """
    n = len(variant)
    assert n, "a variant has at least one seed"
    assert all(len(point) == n for point in dense_variants), "paired over seeds"
    kept = _until_it_turns(dense_variants) if turns else len(dense_variants)
    if len(dense_variants) < 2:
        return Crossing("none", n=n, reason=FEW_POINTS)
    if kept < 2 or not _falls(dense_variants[:kept]):
        return Crossing("none", n=n, points=kept, reason=NOT_FALLING)
    return _located(np.array(dense_variants[:kept], dtype=float), np.array(variant, dtype=float))


def _differs(one: Sequence[float], other: Sequence[float]) -> int:
    """Return the sign of one minus other, 0 where none is shown; of fewer than three seeds the means decide."""
    effect = over_processes([a - b for a, b in zip(one, other, strict=True)])
    if effect.low is None or effect.high is None:
        return (effect.value > 0) - (effect.value < 0)
    return (effect.low > 0) - (effect.high < 0)


def _until_it_turns(dense_variants: Sequence[Sequence[float]]) -> int:
    """Return how many points lie before the curve rises again."""
    kept = len(dense_variants)
    while kept > 1 and any(_differs(dense_variants[kept - 1], point) > 0 for point in dense_variants[: kept - 1]):
        kept -= 1
    return kept


def _falls(dense_variants: Sequence[Sequence[float]]) -> bool:
    pairs = [(small, large) for i, small in enumerate(dense_variants) for large in dense_variants[i + 1 :]]
    return _differs(dense_variants[-1], dense_variants[0]) < 0 and all(
        _differs(large, small) <= 0 for small, large in pairs
    )


def _located(dense_variants: np.ndarray, variant: np.ndarray) -> Crossing:
    """Place the variant on dense models whose losses fall, [points, seeds]."""
    last, n = len(dense_variants) - 1, len(variant)
    apart = variant - dense_variants  # above 0 where the variant is worse than the point
    means = [float(np.mean(each)) for each in apart]
    kind: Literal["inside", "beyond", "before"] = "beyond"
    at = None
    if means[0] > 0:
        kind = "before"
    elif max(means) >= 0:
        kind, at = "inside", _first_at_least_zero(means)
    if n < FEWEST:
        return Crossing(kind, at, points=last + 1, n=n, reason=Reason("{n:seed}: three give an interval", n=n))
    equal = [i for i, each in enumerate(apart) if not each.any()]
    if equal:  # the variant is that very model
        return Crossing("inside", equal[0], equal[0], equal[0], last + 1, n)
    t = t_quantile(0.975, n)
    # Edges of where the variant is not shown to be better, and of where it is not shown to be worse.
    edges = [edge for i in range(last) for edge in _edges(apart[i], apart[i + 1], t, i)]
    margins = [t * float(np.std(each, ddof=1)) / math.sqrt(n) for each in apart]
    low = None if means[0] + margins[0] >= 0 else min((p for p, mean in edges if mean <= 0), default=float(last))
    high = None if means[-1] - margins[-1] <= 0 else max((p for p, mean in edges if mean >= 0), default=0.0)
    return Crossing(kind, at, low, high, last + 1, n)


def _first_at_least_zero(means: Sequence[float]) -> float:
    """The first place where the interpolated mean is 0 or more: the cheapest dense model that is as good as the variant."""
    at = next(i for i, mean in enumerate(means) if mean >= 0)
    return float(at) if at == 0 else at - means[at] / (means[at] - means[at - 1])


def _edges(here: np.ndarray, there: np.ndarray, t: float, start: int) -> list[tuple[float, float]]:
    """Places between two points where the mean difference is as large as its margin, and that difference there."""
    u, v = here, there - here
    (uu, uv), (_, vv) = np.cov(u, v) / len(here)
    line = Line(float(u.mean()), float(v.mean()), uu, uv, vv)
    # A root at a point may lie beyond it by rounding.
    return [(start + min(max(w, 0.0), 1.0), line.value(w)) for w in line.edges(t) if -ROUNDING <= w <= 1 + ROUNDING]


def rate(place: Crossing, costs: Sequence[Sequence[float]], *, counted: bool) -> Rate:
    """Turn a place on the dense models into a compute-equivalent gain in one currency.

    Args:
        place: where the dense curve has the variant's loss.
        costs: for each point of the dense models the log of its compute over the variant's, by process; one value each where
            counted.
        counted: whether the compute was counted, and so has no interval of its own.
    """
    processes = 0 if counted else len(costs[0])
    ways = np.array(costs[: place.points], dtype=float)
    means = [float(each.mean()) for each in ways]
    reason = place.reason if place.kind == "none" else _no_price(means)
    if reason is None and place.n >= FEWEST and place.low is None and place.high is None:
        reason = UNDECIDED
    kind = _KINDS[place.kind]
    if reason is not None or kind == "none":
        return Rate("none", seeds=place.n, processes=processes, reason=reason)
    start = place.at if place.at is not None else place.points - 1.0 if kind == "bound_below" else 0.0
    value = math.exp(_at(means, start))
    inside = value if kind == "rate" else None
    if place.n < FEWEST or (not counted and processes < FEWEST):
        few = place.reason or Reason("few_processes", n=processes)
        low, high = (value if kind == bound else None for bound in ("bound_below", "bound_above"))
        return Rate(kind, inside, low, high, place.n, processes, illustration=True, reason=few)
    low = None if place.low is None else _end(ways, place, start, place.low, -1)
    high = None if place.high is None else _end(ways, place, start, place.high, 1)
    return Rate(kind, inside, low, high, place.n, processes)


_KINDS: dict[str, Literal["rate", "bound_below", "bound_above", "none"]] = {
    "inside": "rate",
    "beyond": "bound_below",
    "before": "bound_above",
    "none": "none",
}


def _no_price(means: Sequence[float]) -> Reason | None:
    """Why places on the dense models have no price in a currency: it does not grow along the dense models."""
    if max(means) - min(means) < LEAST_SPAN:
        return EQUAL_COST
    return NOT_DEARER if means[-1] <= means[0] else None


def _at(values: Sequence[float], place: float) -> float:
    """The value at a place of the dense models, linear between its points."""
    i = min(int(place), len(values) - 2)
    return values[i] + (place - i) * (values[i + 1] - values[i])


def _end(ways: np.ndarray, place: Crossing, start: float, to: float, sign: int) -> float:
    """An end of the interval: the margin of the seeds (from `start` to the end of the places) and that of the processes.

    Margins are standard errors times a quantile of t; their squares are added as variances, with the degrees of freedom of Welch.
    """
    means, processes = [float(each.mean()) for each in ways], ways.shape[1]
    first, last = sorted((start, to))
    # A larger model need not cost more in every step of the dense models: the extreme may lie at a point between.
    places = [to, start, *(float(i) for i in range(len(means)) if first < i < last)]
    extreme = max(places, key=lambda each: sign * _at(means, each))
    i = min(int(extreme), len(means) - 2)
    seeds = ((_at(means, extreme) - _at(means, start)) / t_quantile(0.975, place.n)) ** 2
    sd = over_processes((ways[i] + (extreme - i) * (ways[i + 1] - ways[i])).tolist()).sd
    times = 0.0 if sd is None else sd * sd / processes
    if seeds + times == 0:
        return math.exp(_at(means, start))
    freedom = (seeds + times) ** 2 / (seeds**2 / (place.n - 1) + (times**2 / (processes - 1) if times else 0.0))
    return math.exp(_at(means, start) + sign * float(special.stdtrit(freedom, 0.975)) * math.sqrt(seeds + times))


# Beyond this many e-folds of compute no float holds the factor, and nothing that was measured tells it.
MOST_FOLDS = 700.0


@dataclass(frozen=True)
class Fall:
    """By how much the loss falls with every e-fold of compute.

    Attributes:
        value: in nats.
        margin: half the width of its 95 % interval.
    """

    value: float
    margin: float


@dataclass(frozen=True)
class EffectiveSpeedup:
    """Dense compute with the variant's loss over the variant's own: above 1 the variant saves compute.

    Attributes:
        value: the factor; None where there is none.
        low: lower end of its 95 % interval.
        high: upper end; None with a lower end: open.
        reason: why there is none.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: Reason | None = None


def from_fall(difference: float, margin: float | None, per_fold: Fall) -> EffectiveSpeedup:
    """Return the compute-equivalent gain of a variant that took as much compute as a dense model.

    Args:
        difference: the variant's loss minus that of the dense model, in nats per token.
        margin: half the width of its interval; None: it has none.
        per_fold: the fall of the dense model's loss, of other runs.
    """
    line = Line(difference, per_fold.value, (margin or 0.0) ** 2, 0.0, per_fold.margin**2)
    ends = line.interval(1.0)
    if ends is None or per_fold.value <= 0:
        return EffectiveSpeedup(reason=FLAT)
    folds = -difference / per_fold.value
    if abs(folds) > MOST_FOLDS:
        return EffectiveSpeedup(
            reason=Reason("the loss hardly falls with compute: no amount of it makes up for the difference")
        )
    value, (low, high) = math.exp(folds), ends
    if margin is None:
        return EffectiveSpeedup(value)
    return EffectiveSpeedup(value, math.exp(low), math.exp(high) if high <= MOST_FOLDS else None)
