"""IsoFLOP sweeps: the loss of each variant at each size, the optimum of its curve, and how certain that is.

All runs of a budget give one fit (`plugins/sweeps/joint_fit.py`): a parabola of the loss over the logarithm of the parameters for
each variant (Hoffmann et al. 2022, approach 2), and an offset of each seed. An optimum counts if the parabola opens upwards and
the optimum is between the smallest and the largest size trained. The size with the lowest mean loss, which needs no fit, is
reported too, with differences seed by seed, since all variants of a seed see the same text in the same order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from modbench.extend import (
    CAUSAL_LOSS,
    PER_TOKEN,
    TABLES,
    Case,
    DataTable,
    Effect,
    Estimate,
    Finding,
    GridPoint,
    InPlace,
    Label,
    Listed,
    Loaded,
    Reason,
    Sentence,
    Table,
    Value,
    by_seed,
    flag,
    grouped,
    interval,
    joined_reasons,
    losses,
    name,
    number,
    seeds_in_words,
    text,
)
from modbench.plugins.sweeps.confirmation.rule import place_of
from modbench.plugins.sweeps.confirmation.table import CONFIRMED
from modbench.plugins.sweeps.held_against import has_tail, held_against
from modbench.plugins.sweeps.isoflop.plan import IsoflopPlan, budget_of, spent
from modbench.plugins.sweeps.joint_fit import Estimate as Fitted
from modbench.plugins.sweeps.joint_fit import JointFit, Run
from modbench.plugins.sweeps.rates.measurement import RatesNotes
from modbench.plugins.sweeps.trend.statistics import Tried

# Metrics that need no column of their own: a column of the table, and rates, which are tried at one size of each variant.
ELSEWHERE = frozenset({CONFIRMED, "lr/best_over_rule"})


@dataclass(frozen=True)
class Point:
    """One size of one variant.

    Attributes:
        case: the case that was trained.
        params: number of parameters.
        forward: FLOPs of a forward pass with causal attention.
        losses: seed to held-out loss, in nats per token.
    """

    case: Case
    params: float
    forward: float
    losses: dict[int, float]

    @property
    def mean(self) -> float:
        """Mean loss over seeds."""
        return float(np.mean(list(self.losses.values())))


@dataclass(frozen=True)
class Curve:
    """One variant at one budget.

    Attributes:
        variant: the variant without its size.
        train_flops: training FLOPs of every run.
        metric: key of the loss.
        points: the sizes, smallest first.
        lacking: sizes left out because some seed has no loss, in words.
    """

    variant: str
    train_flops: float
    metric: str
    points: tuple[Point, ...]
    lacking: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The variant's display name."""
        return without_size(self.points[0].case)

    @property
    def best(self) -> Point:
        """The size with the lowest mean loss."""
        return min(self.points, key=lambda point: point.mean)

    @property
    def runs(self) -> list[Run]:
        """The runs, for a fit."""
        return [
            Run(self.variant, math.log(point.params), seed, loss)
            for point in self.points
            for seed, loss in point.losses.items()
        ]


def without_size(case: Case) -> str:
    """The display name of a case's variant."""
    return name(case.model_copy(update={"variant_parts": case.variant_parts[:-1], "sized": False}))


@dataclass(frozen=True)
class Swept:
    """One variant at one budget by one loss, with the baseline's.

    Attributes:
        curve: its sizes.
        dense: the baseline's curve at the budget, by the same loss if it has one; None where it has none.
        step: time of a training step at its best size over that at the best dense size; None where steps were not timed.
        difference: loss at its best size minus that at the best dense size, seed by seed; None for the baseline.
        params: parameters at the lowest point of its fitted curve; without a value where it has none, or a size was left out.
        loss: the loss there.
        apart: loss there minus that at the baseline's; None where one of the two has none.
        reason: why there is none.
    """

    curve: Curve
    dense: Curve | None
    step: Estimate | None
    difference: Effect | None
    params: Estimate
    loss: Estimate
    apart: Fitted | None
    reason: Value

    @property
    def best(self) -> Point:
        """The size with the lowest mean loss."""
        return self.curve.best


def swept(loaded: Loaded) -> list[Swept]:
    """Return every variant at every budget by every loss."""
    made = curves(loaded)
    return [_beside(loaded, curve, made) for curve in made]


def _beside(loaded: Loaded, curve: Curve, made: Sequence[Curve]) -> Swept:
    """Set a curve beside the baseline's, that of the first variant of the sweep.

    One fit holds all curves of a budget and a loss.
    """
    anchor = next(c.variants[0].family for c in loaded.plan.comparisons if budget_of(c.variants[0]) is not None)
    same = [each for each in made if each.train_flops == curve.train_flops and each.variant == anchor]
    dense = next((each for each in same if each.metric == curve.metric), same[0] if same else None)
    together = [each for each in made if (each.train_flops, each.metric) == (curve.train_flops, curve.metric)]
    together += [dense] if dense is not None and dense not in together else []
    fit = JointFit([run for each in together for run in each.runs])
    params = loss = Estimate(None)
    step = difference = apart = None
    reasons: list[Reason | Value] = [*curve.lacking]
    optimum = fit.optimum(curve.variant)
    if isinstance(optimum, Reason):
        reasons.append(optimum)
    elif not curve.lacking:
        place = optimum.place
        value, low, high = (None if end is None else math.exp(end) for end in (place.value, place.low, place.high))
        params = Estimate(value, low, high, unit="param")
        loss = Estimate.of_interval(optimum.loss, unit="nat")
    if dense is None:
        reasons.append("no baseline: no size of the baseline has a loss for every seed")
    else:
        step = step_share(loaded, curve.best, dense.best)
    if dense is not None and curve.variant != anchor:
        difference = by_seed(curve.best.losses, dense.best.losses)
        apart = fit.difference(curve.variant, anchor) if loss.value is not None else None
        reasons += ["the baseline's curve has no optimum"] * isinstance(fit.optimum(anchor), Reason)
    return Swept(curve, dense, step, difference, params, loss, apart, joined_reasons(reasons))


def curves(loaded: Loaded) -> list[Curve]:
    """Return the curve of every variant, budget and requested loss, from the sizes that have a loss for every seed."""
    cases = grouped(
        ((spent(case), metric.key, case.family), case)
        for _, metric, case in loaded.tables.asked()
        if budget_of(case) is not None and metric.key in PER_TOKEN
    )
    made = [_curve(loaded, *which, those) for which, those in cases.items()]
    return sorted(filter(None, made), key=lambda curve: (curve.train_flops, PER_TOKEN.index(curve.metric)))


def _curve(loaded: Loaded, budget: float, metric: str, variant: str, cases: Sequence[Case]) -> Curve | None:
    points, lacking, seeds = list[Point](), list[str](), loaded.suite.seeds
    for case in cases:
        found, counted = loaded.tables.values_of(case, metric), loaded.tables.counted(case)
        if set(found) == set(seeds) and counted.params and counted.forward_causal:
            points.append(Point(case, float(counted.params), float(counted.forward_causal), found))
        else:
            lacking.append(f"{case.size} has {len(found)} of {len(seeds)} seeds")
    points.sort(key=lambda point: point.params)
    return Curve(variant, budget, metric, tuple(points), tuple(lacking)) if points else None


def by_budget(loaded: Loaded) -> list[Swept]:
    """Return the variants of each budget that has more than the baseline, each by its causal loss, if any.

    Of a budget the baseline comes first, then the others from the lowest loss on.
    """
    sweep, found = IsoflopPlan.of(loaded.suite), dict[tuple[float, str], Swept]()
    for each in swept(loaded):
        if each.dense is not None and sweep is not None and each.curve.train_flops not in sweep.baseline_train_flops:
            found.setdefault((each.curve.train_flops, each.curve.variant), each)
    return sorted(
        found.values(), key=lambda each: (each.curve.train_flops, each.difference is not None, each.best.mean)
    )


def explored(loaded: Loaded, place: GridPoint) -> list[Tried]:
    """Return the runs at a place that explored sizes, each with its held-out loss, routed causally."""
    return [
        Tried(case.family, spent(case), place_of(case), seed, loss)
        for case in loaded.plan.cases
        if budget_of(case) is not None and case.grid_point == place
        for seed, loss in loaded.tables.values_of(case, CAUSAL_LOSS).items()
    ]


def parity(row: Swept) -> tuple[float, bool] | tuple[None, None]:
    """Find the fewest forward FLOPs, relative to the best dense size, at which the mean curve reaches the best dense loss.

    Between sizes the mean loss is interpolated linearly over the logarithm of the FLOPs.

    Returns:
        The share, and whether it is only an upper bound because the smallest size already reaches that loss. None if no size
        reaches it, or there is no dense one.
    """
    if row.dense is None:
        return None, None
    goal, whole = row.dense.best.mean, row.dense.best.forward
    points = sorted(row.curve.points, key=lambda point: point.forward)
    if points[0].mean <= goal:
        return points[0].forward / whole, True
    for low, high in itertools.pairwise(points):
        if low.mean > goal >= high.mean:
            share = (low.mean - goal) / (low.mean - high.mean)
            return math.exp(math.log(low.forward) * (1 - share) + math.log(high.forward) * share) / whole, False
    return None, None


def step_share(loaded: Loaded, point: Point, best: Point) -> Estimate | None:
    """Return a training step's time relative to the best dense size; None if steps were not timed."""
    if point.case.variant == best.case.variant:
        return Estimate(1.0, kind="ratio")
    for row in loaded.between("latency/train_step", point.case.variant, best.case.variant):
        if row.status == "ok":
            found = Estimate.of(row.ratio, row.ci_low, row.ci_high, kind="ratio")
            return found.mirrored() if row.variant == point.case.variant else found
    return None


TABLE = DataTable[Swept](
    "isoflop",
    "a budget, variant and loss; differences are to the baseline's variant",
    (
        number("train_flops", "training FLOPs of every run", lambda row: row.curve.train_flops, "FLOP"),
        text("variant", "the variant without its size", lambda row: row.curve.variant),
        text("metric", "the loss", lambda row: row.curve.metric),
        text("best_variant", "the size with the lowest mean loss", lambda row: row.best.case.variant),
        text("best_size", "its size alone", lambda row: row.best.case.size),
        number("best_params", "its parameters", lambda row: row.best.params),
        number(
            "best_forward_share",
            "its forward FLOPs over those of the best dense size",
            lambda row: row.dense and row.best.forward / row.dense.best.forward,
        ),
        number("best_step_share", "the same of the time of a training step", lambda row: row.step and row.step.value),
        number("best_loss", "its mean loss", lambda row: row.best.mean, "nat"),
        interval(
            "best_difference",
            "the same minus dense's, seed by seed",
            lambda row: row.difference,
            "best_difference_",
            "nat",
        ),
        number("optimum_params", "parameters at the lowest point of the fit", lambda row: row.params.value),
        number("optimum_params_ci_low", "lower end of their 95 % confidence interval", lambda row: row.params.low),
        number("optimum_params_ci_high", "upper end", lambda row: row.params.high),
        number("optimum_loss", "loss at that point", lambda row: row.loss.value, "nat"),
        number("optimum_loss_ci_low", "lower end of its 95 % confidence interval", lambda row: row.loss.low, "nat"),
        number("optimum_loss_ci_high", "upper end", lambda row: row.loss.high, "nat"),
        interval("optimum_difference", "the same minus dense's", lambda row: row.apart, "optimum_difference_", "nat"),
        text("seeds", "seeds of every size", lambda row: " ".join(map(str, sorted(row.best.losses)))),
        number(
            "forward_share_at_parity",
            "fewest forward FLOPs with the best dense loss, over those of the best dense size",
            lambda row: parity(row)[0],
        ),
        flag("parity_is_at_most", "whether fewer may do", lambda row: parity(row)[1]),
        text("reason", "why there is no optimum or no difference", lambda row: row.reason),
    ),
    swept,
)


# --- in tables


def in_place(loaded: Loaded) -> InPlace | None:
    """Return the table that stands in place of one of all sizes; None if no sweep was trained."""
    made, rows = table(loaded), by_budget(loaded)
    if made is None:
        return None
    base, variants = f"{rows[0].curve.name} at its best size", [each.best.case for each in rows]
    return InPlace(tables=[made], baseline=base, variants=variants, metrics=ELSEWHERE)


def table(loaded: Loaded) -> Table | None:
    """Return every variant at its best size: its loss, and what was counted and timed; None if no sweep was trained."""
    rows, lengths = by_budget(loaded), loaded.lengths_shown
    columns: list[tuple[Value, Sequence[Value]]] = [
        ("FLOPs", [Estimate(each.curve.train_flops, unit="FLOP") for each in rows]),
        ("best size", [each.best.case for each in rows]),
        ("loss", [_loss(loaded, each) for each in rows]),
    ]
    for metric, length in itertools.product(TABLES, lengths):
        title = Sentence("{title}" + ", T = {T}" * (len(lengths) > 1), title=TABLES[metric], T=length)
        columns.append((title, [_measured(loaded, metric, length, each) for each in rows]))
    shown = [column for column in columns if any(cell is not None for cell in column[1])]
    titles, cells = zip(*shown, strict=True) if rows else ((), ())
    made = Table("the best sizes", titles, [*zip(*cells, strict=True)], notes=_notes(loaded, rows), file="isoflop.csv")
    return made if rows else None


def _loss(loaded: Loaded, each: Swept) -> Finding:
    """Return a loss and its difference to the baseline's, seed by seed."""
    unit, factor = losses.unit_of(loaded)
    base, case = losses.base_of(unit), each.best.case
    value = Estimate(each.best.mean * factor, unit=base)
    if each.dense is None or each.difference is None:
        return Finding(case, value=value)
    made = Estimate.of_interval(each.difference, "difference", base).scaled(factor)
    ahead = {other.variant for other in loaded.labelled.get(Label.NOT_AUTOREGRESSIVE, [])}
    future = each.curve.metric != CAUSAL_LOSS and case.variant in ahead
    labels = (Label.NOT_AUTOREGRESSIVE,) * future
    return Finding(case, each.dense.best.case, value=value, typical=made, labels=labels)


def _measured(loaded: Loaded, metric: str, length: int, each: Swept) -> Value:
    """Return the value of a metric at a length, and its ratio to the baseline's; None where it was not measured."""
    case, base = each.best.case, each.dense.best.case if each.dense is not None else each.best.case
    row, value = loaded.case(case.variant, metric, length), loaded.value(case.variant, metric, length)
    if row is None or value is None or metric not in loaded.suite.metrics:
        return None
    own = Estimate(value, unit=str(row.unit))
    here = {other.variant: other for other in reversed(loaded.plan.cases) if other.grid_point.seq_len == length}
    found = held_against(loaded, here[case.variant], here[base.variant], metric)
    if found is None or found.typical.kind != "ratio":
        return Finding(case, value=own)
    labels = (Label.TAIL,) * has_tail(found)
    return Finding(case, base, value=own, typical=found.typical, verdict=found.verdict, labels=labels)


def _notes(loaded: Loaded, rows: Sequence[Swept]) -> list[Value]:
    """Say what the rows are, and what is left out."""
    causal = all(each.curve.metric == CAUSAL_LOSS for each in rows)
    lacking = [f"{each.curve.name} {size}" for each in rows for size in each.curve.lacking]
    made = {(each.curve.train_flops, each.curve.variant) for each in rows}
    absent = [c for c in loaded.plan.cases if budget_of(c) in dict(made) and (budget_of(c), c.family) not in made]
    lacking += [f"{without_size(case)} has no size with all seeds" for case in absent]
    words = "each at its best size, routed causally" + " where possible" * (not causal) + "; {seeds}"
    said = Sentence(words, seeds=seeds_in_words(loaded))
    return [said, *([Sentence("left out: {what}", what=Listed([*dict.fromkeys(lacking)], "; "))] if lacking else [])]


def doubts(loaded: Loaded) -> Iterator[Sentence]:
    """Name the variants whose best learning rate is the lowest or highest that was tried: a further one may be better."""
    tables, variants = loaded.tables, list[Value]()
    for case in (job.comparison.variants[0] for job in loaded.plan.jobs if job.protocol.rates):
        if any(notes.at_edge for notes in tables.notes_of(case, "lr/best_over_rule", RatesNotes)):
            variants.append(without_size(case))
    if variants:
        words = "best learning rate of {variants} at the edge of those tried: add some to isoflop.rates"
        yield Sentence(words, variants=Listed(variants, last=" and "))
