"""IsoFLOP sweeps: the loss of each variant at each size, the optimum of its curve, and how certain that is.

All runs of a budget give one fit (`harness/stats/joint_fit.py`): a parabola of the loss over the logarithm of the parameters for
each variant (Hoffmann et al. 2022, approach 2), and an offset of each seed. An optimum counts if the parabola opens upwards and
the optimum is between the smallest and the largest size trained. The size with the lowest mean loss, which needs no fit, is
reported too, with differences seed by seed, since all arms of a seed see the same text in the same order. So is what it costs
there: every variant at the best of its sizes, against the anchor at its best.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from modbench.harness.core.labels import Label
from modbench.harness.domain.case import Case
from modbench.harness.domain.notes import RatesNotes
from modbench.harness.rules.confirmation import CONFIRMED
from modbench.harness.stats.effects import by_seed
from modbench.harness.stats.joint_fit import JointFit, Optimum, Run
from modbench.reports import reasons
from modbench.reports.model import Block, Estimate, Finding, Listed, Note, Sentence, Table, Value, known
from modbench.reports.panel import InPlace
from modbench.reports.questions.recommend.candidates import against, has_tail
from modbench.reports.questions.results import TABLES
from modbench.reports.tables import losses
from modbench.reports.tables.cell import columns_of, listed_reasons
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.losses import in_flops, seeds_in_words
from modbench.reports.tables.outcomes import CAUSAL_LOSS, PER_TOKEN
from modbench.reports.wording import name
from modbench.reports.writers.data import frame

COLUMNS = (
    *("budget", "variant", "metric", "best_arm", "best_size", "best_params", "best_forward_share", "best_step_share"),
    *("best_loss", "best_difference", "best_ci_low", "best_ci_high"),
    *("optimum_params", "optimum_params_low", "optimum_params_high", "optimum_loss", "optimum_loss_low"),
    *("optimum_loss_high", "optimum_difference", "optimum_ci_low", "optimum_ci_high", "seeds"),
    *("forward_share_at_parity", "parity_is_at_most", "reason"),
)
HEAD = (
    *("Variant", "Budget", "Loss", "Best size", "Parameters", "Forward FLOPs", "Step time", "Best loss"),
    *("Against dense [95 %]", "Optimum of the fit"),
)
RATES = ("Variant", "Rate of the width rule", "Best", "Losses by rate")
# Metrics that need no column of their own: a column of the table, and rates, which are tried at one size of each variant.
ELSEWHERE = frozenset({CONFIRMED, "lr/best"})


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
        variant: the arm without its size.
        budget: training FLOPs of every run.
        metric: key of the loss.
        points: the sizes, smallest first.
        lacking: sizes left out because some seed has no loss, in words.
    """

    variant: str
    budget: float
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
    def seeds(self) -> list[int]:
        """Seeds; every size has all of them."""
        return sorted(self.points[0].losses)

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
    return name(case.model_copy(update={"arm_parts": case.arm_parts[:-1]}))


def fit(curve: Curve, all_curves: Sequence[Curve], dense: Curve | None) -> JointFit:
    """Fit all variants of a curve's budget that have its loss; with the anchor's, by another loss if it has no other."""
    together = [each for each in all_curves if (each.budget, each.metric) == (curve.budget, curve.metric)]
    if dense is not None and dense not in together:
        together.append(dense)
    return JointFit([run for each in together for run in each.runs])


def curves(loaded: Loaded) -> list[Curve]:
    """Return the curve of every variant, budget and requested loss, from the sizes that have a loss for every seed."""
    made, suite = dict[tuple[float, str, str], list[Point]](), loaded.suite
    lacking: dict[tuple[float, str, str], list[str]] = {}
    for comparison in loaded.plan.comparisons:
        for case, metric in itertools.product(comparison.arms, (key for key in PER_TOKEN if key in comparison.metrics)):
            if case.budget is None:
                continue
            key, cell = (case.budget, case.variant, metric), loaded.tables.cell(case.id, metric)
            losses, counted = cell.values(), loaded.tables.counted(case)
            params, forward = counted.params, counted.forward_causal
            points = made.setdefault(key, [])
            if set(losses) == set(suite.seeds) and params and forward:
                points.append(Point(case, float(params), float(forward), losses))
            else:
                lacking.setdefault(key, []).append(f"{case.size} has {len(losses)} of {len(suite.seeds)} seeds")
    found = [
        Curve(
            variant, budget, metric, tuple(sorted(points, key=lambda point: point.params)), tuple(lacking.get(key, ()))
        )
        for key, points in made.items()
        for budget, variant, metric in [key]
        if points
    ]
    return sorted(found, key=lambda curve: (curve.budget, PER_TOKEN.index(curve.metric)))


def shown(made: Sequence[Curve], budget: float) -> list[Curve]:
    """Return the curves of a budget: each variant by its causal loss, if it has one."""
    first: dict[str, Curve] = {}
    for curve in made:
        if curve.budget == budget:
            first.setdefault(curve.variant, curve)
    return list(first.values())


def anchor(loaded: Loaded) -> str:
    """Return the baseline variant: that of the first arm of the sweep's comparisons."""
    return next(c.arms[0].variant for c in loaded.plan.comparisons if c.arms[0].budget is not None)


def dense_beside(loaded: Loaded, curve: Curve, all_curves: Sequence[Curve]) -> Curve | None:
    """Return the anchor's curve at the same budget, by the same loss if it has one."""
    same = [other for other in all_curves if other.budget == curve.budget and other.variant == anchor(loaded)]
    return next((other for other in same if other.metric == curve.metric), same[0] if same else None)


def parity(curve: Curve, dense: Curve) -> tuple[float, bool] | None:
    """Find the fewest forward FLOPs, relative to the best dense size, at which the mean curve reaches the best dense loss.

    Between sizes the mean loss is interpolated linearly over the logarithm of the FLOPs.

    Returns:
        The share, and whether it is only an upper bound because the smallest size already reaches that loss. None if no size
        reaches it.
    """
    goal, whole = dense.best.mean, dense.best.forward
    points = sorted(curve.points, key=lambda point: point.forward)
    if points[0].mean <= goal:
        return points[0].forward / whole, True
    for low, high in itertools.pairwise(points):
        if low.mean > goal >= high.mean:
            share = (low.mean - goal) / (low.mean - high.mean)
            return math.exp(math.log(low.forward) * (1 - share) + math.log(high.forward) * share) / whole, False
    return None


def step_share(loaded: Loaded, point: Point, best: Point) -> Estimate | None:
    """Return a training step's time relative to the best dense size; None if steps were not timed."""
    if point.case.arm == best.case.arm:
        return Estimate(1.0, kind="ratio")
    timed = loaded.pairs[(loaded.pairs.metric == "latency/train_step") & (loaded.pairs.status == "ok")]
    # Each pair is stored once, in one of the two orders.
    for one, other, mirrored in ((point, best, False), (best, point, True)):
        rows = timed[(timed.arm == one.case.arm) & (timed.baseline_arm == other.case.arm)]
        if rows.empty:
            continue
        row = rows.iloc[0]
        found = Estimate.of(float(row.ratio), float(row.ci_low), float(row.ci_high), kind="ratio")
        return found if mirrored else found.mirrored()  # a mirrored ratio is time(point) / time(best)
    return None


def table(loaded: Loaded) -> pd.DataFrame:
    """Return `isoflop.csv`: one row per budget, variant and loss; differences to the anchor's variant, seed by seed."""
    made, rows = curves(loaded), list[dict[str, object]]()
    for curve in made:
        dense = dense_beside(loaded, curve, made)
        rows.append(_row(loaded, curve, dense, fit(curve, made, dense)))
    return frame(rows, COLUMNS)


def _row(loaded: Loaded, curve: Curve, dense: Curve | None, fitted: JointFit) -> dict[str, object]:
    best, found = curve.best, fitted.optimum(curve.variant)
    row: dict[str, object] = {
        "budget": curve.budget,
        "variant": curve.variant,
        "metric": curve.metric,
        "best_arm": best.case.arm,
        "best_size": best.case.size,
        "best_params": best.params,
        "best_loss": best.mean,
        "seeds": " ".join(map(str, curve.seeds)),
    }
    lacking: list[Value] = [*curve.lacking, *([] if isinstance(found, Optimum) else [reasons.sentence(found)])]
    if isinstance(found, Optimum) and not lacking:
        for name, each, shown in (("params", found.place, math.exp), ("loss", found.loss, float)):
            ends = (("", each.value), ("_low", each.low), ("_high", each.high))
            row |= {f"optimum_{name}{end}": None if value is None else shown(value) for end, value in ends}
    if dense is None:
        lacking.append("no baseline: no size of the anchor has a loss for every seed")
    else:
        share, there = step_share(loaded, best, dense.best), parity(curve, dense)
        row |= {
            "best_forward_share": best.forward / dense.best.forward,
            "best_step_share": share.value if share else None,
            "forward_share_at_parity": there[0] if there else None,
            "parity_is_at_most": there[1] if there else None,
        }
        if curve.variant != dense.variant:
            effect = by_seed(best.losses, dense.best.losses)
            row |= columns_of(effect, "best_difference", "best_")
            apart = fitted.difference(curve.variant, dense.variant)
            if not isinstance(fitted.optimum(dense.variant), Optimum):
                lacking.append("the anchor's curve has no optimum")
            elif apart is not None and not lacking:
                row |= columns_of(apart, "optimum_difference", "optimum_")
    return row | {"reason": listed_reasons(lacking)}


# --- in sentences and tables


def sentences(loaded: Loaded) -> Iterator[Sentence]:
    """Compare the best size of each routed variant with the best dense size, by the causal loss."""
    made, explored = curves(loaded), loaded.suite.confirms
    for curve in made if loaded.suite.trend is None else ():  # what is followed stands for all budgets
        dense = dense_beside(loaded, curve, made)
        if curve.metric == CAUSAL_LOSS and dense is not None and curve.variant != dense.variant:
            yield _sentence(loaded, curve, dense, explored=explored)


def _sentence(loaded: Loaded, curve: Curve, dense: Curve, *, explored: bool) -> Sentence:
    found = _loss(loaded, curve, dense)
    difference, step = found.typical, step_share(loaded, curve.best, dense.best)
    below = (difference.value or 0.0) < 0
    open_ = difference.ends is not None and difference.ends[0] <= 0 <= difference.ends[1]
    costs = {"forward FLOPs": Estimate(dense.best.forward / curve.best.forward, kind="ratio")}
    if step is not None:
        costs["train step"] = Estimate(step.mirrored().value, kind="ratio")
    return Sentence(
        "Explored, on the seeds and the text that chose it: at " * explored
        + "At " * (not explored)
        + f"{{budget}} {{arm}} ends {{difference}} {'below' if below else 'above'} {{base}}"
        + " (too few seeds for an interval)" * (difference.ends is None)
        + ", undecided" * open_
        + ", each at the best size trained and both routed causally; its cost there against {base} (above 1× is better): "
        "{costs}.",
        budget=in_flops(curve.budget),
        arm=curve.name,
        difference=replace(difference.mirrored() if below else difference, kind="quantity"),
        base=dense.name,
        costs=Listed([Sentence(f"{title} {{ratio}}", ratio=ratio) for title, ratio in costs.items()]),
        found=found,
    )


def in_place(loaded: Loaded) -> InPlace | None:
    """Return a table for each budget, which stands in place of one of all sizes; None if no sweep was trained."""
    budgets = _budgets(loaded)
    if not budgets:
        return None
    return InPlace(
        tables=[_table(loaded, rows) for rows in budgets],
        baseline=f"{budgets[0][0].name} at its best size",
        arms=[curve.best.case for rows in budgets for curve in rows],
        metrics=ELSEWHERE,
    )


def _budgets(loaded: Loaded) -> list[list[Curve]]:
    """Return the variants of each budget: the anchor, then the others from the lowest loss to the highest."""
    sweep, made = loaded.suite.isoflop, curves(loaded)
    found = list[list[Curve]]()
    for budget in sorted({curve.budget for curve in made} - set(sweep.anchor_budgets if sweep else ())):
        own = shown(made, budget)
        dense = dense_beside(loaded, own[0], made)
        if dense is not None:
            others = (curve for curve in own if curve is not dense)
            found.append([dense, *sorted(others, key=lambda curve: curve.best.mean)])
    return found


def _table(loaded: Loaded, rows: Sequence[Curve]) -> Table:
    """Return names, losses, parameters, and what was counted and timed, of one budget."""
    cases = [curve.best.case for curve in rows]
    unit, _ = losses.unit_of(loaded)
    explored = "explored, " * (loaded.suite.confirms)
    columns: list[tuple[Value, Sequence[Value]]] = [
        (Sentence("at {budget}", budget=in_flops(rows[0].budget)), cases),
        (f"{explored}{unit}", [_loss(loaded, curve, rows[0]) for curve in rows]),
    ]
    confirmed = [_confirmed(loaded, curve) for curve in rows]
    if any(confirmed):
        columns.append(("confirmed", confirmed))
    columns.append(("parameters", [Estimate(curve.best.params, unit="param") for curve in rows]))
    lengths = loaded.lengths_shown
    for metric, title in TABLES.items():
        if metric in loaded.suite.metrics:
            for length in lengths:
                words = "{title}" + ", T = {T}" * (len(lengths) > 1)
                cells = [_measured(loaded, metric, length, case, cases[0]) for case in cases]
                columns += [(Sentence(words, title=title, T=length), cells)] * any(cell is not None for cell in cells)
    titles, cells_of = zip(*columns, strict=True)
    return Table("the best sizes", titles, [*zip(*cells_of, strict=True)], notes=[_below(loaded, rows, confirmed)])


def _confirmed(loaded: Loaded, curve: Curve) -> Value:
    """Return the loss on fresh seeds, and before it the size if the fit chose another one than the row's; None: no such loss."""
    _, factor = losses.unit_of(loaded)
    for point in curve.points:
        value = loaded.value(point.case.arm, CONFIRMED)
        if value is not None:
            size = "" if point is curve.best else f"{point.case.size} "
            return Sentence("{size}{loss}", size=size, loss=Estimate(value * factor, kind="loss"))
    return None


def _loss(loaded: Loaded, curve: Curve, dense: Curve) -> Finding:
    """Return a loss and its difference to the anchor's, seed by seed."""
    unit, factor = losses.unit_of(loaded)
    base, case = losses.base_of(unit), curve.best.case
    value = Estimate(curve.best.mean * factor, unit=base)
    if curve is dense:
        return Finding(case, value=value)
    effect = by_seed(curve.best.losses, dense.best.losses)
    made = Estimate.of_interval(effect, "difference", base).scaled(factor)
    ahead = {each.arm for each in loaded.labelled.get(Label.NOT_AUTOREGRESSIVE, [])}
    future = curve.metric != CAUSAL_LOSS and case.arm in ahead
    return Finding(case, dense.best.case, value=value, typical=made, labels=(Label.NOT_AUTOREGRESSIVE,) * future)


def _measured(loaded: Loaded, metric: str, length: int, case: Case, base: Case) -> Value:
    """Return the value of a metric at a length, and its ratio to the anchor's; None where it was not measured."""
    row = loaded.case(case.arm, metric, length)
    value = loaded.value(case.arm, metric, length)
    if row is None or value is None:
        return None
    own = Estimate(value, unit=str(row.unit))
    here = {each.arm: each for each in reversed(loaded.plan.cases) if each.place.seq_len == length}
    found = against(loaded, here[case.arm], here[base.arm], metric)
    if found is None or found.typical.kind != "ratio":
        return Finding(case, value=own)
    labels = (Label.TAIL,) * has_tail(found)
    return Finding(case, base, value=own, typical=found.typical, verdict=found.verdict, labels=labels)


def _below(loaded: Loaded, rows: Sequence[Curve], confirmed: Sequence[Value]) -> Sentence:
    """Say what the rows are, and where the other sizes stand."""
    routed = (
        "routed causally" if all(curve.metric == CAUSAL_LOSS for curve in rows) else "routed causally where possible"
    )
    seeds: Value = seeds_in_words(loaded)
    if loaded.suite.confirms:
        seeds = Sentence("mean of {n:seed}, which also chose the size: no claim", n=len(rows[0].seeds))
    lacking = [f"{curve.name} {size}" for curve in rows for size in curve.lacking]
    made = {curve.variant for curve in rows}
    absent = [case for case in loaded.plan.cases if case.budget == rows[0].budget and case.variant not in made]
    lacking += dict.fromkeys(f"{without_size(case)} has no size with all seeds" for case in absent)
    named = any(isinstance(each, Sentence) and each.given["size"] for each in confirmed)
    return Sentence(
        f"Each at the best of its sizes, {routed}; {{seeds}}"
        + ". Where the fit chose another size to confirm, it is named" * named
        + ". Left out: {lacking}" * bool(lacking)
        + ". isoflop.csv has the fits, cases.csv all sizes.",
        seeds=seeds,
        lacking=Listed(lacking, "; "),
    )


def blocks(loaded: Loaded) -> Iterator[Block]:
    """Return the optimum of every variant, budget and loss, and the learning rates that were tried."""
    names = {curve.variant: curve.name for curve in curves(loaded)}
    yield Table(
        "IsoFLOP optima", HEAD, [_shown(row, names[row["variant"]]) for row in table(loaded).to_dict("records")]
    )
    yield Note(
        "Best size: the lowest mean loss of those trained. Differences are paired over seeds, with 95 % t-intervals; forward "
        "FLOPs and step time are relative to those of the best dense size. The optimum is that of one fit over all runs of the "
        "budget, a parabola over the logarithm of the parameters for each variant; without one, the reason."
    )
    if rates := [*_rates(loaded)]:
        yield Table("Learning rates tried at the middle size, over that of the width rule", RATES, rates)


def _shown(row: Mapping[Any, Any], variant: str) -> Sequence[Value]:
    return (
        variant,
        in_flops(row["budget"]),
        "routed causally" if row["metric"] == CAUSAL_LOSS else "as trained",
        row["best_size"],
        Estimate(row["best_params"], unit="param"),
        Estimate.of(row["best_forward_share"], kind="ratio"),
        Estimate.of(row["best_step_share"], kind="ratio"),
        Estimate(row["best_loss"], unit="nat"),
        Estimate.of(row["best_difference"], row["best_ci_low"], row["best_ci_high"], kind="difference", unit="nat"),
        _fitted(row),
    )


def _fitted(row: Mapping[Any, Any]) -> Value:
    if known(row["optimum_loss"]) is None:
        return row["reason"] or None
    difference = Estimate.of(
        *(row[f"optimum_{column}"] for column in ("difference", "ci_low", "ci_high")), kind="difference", unit="nat"
    )
    words = "{params}: {loss}" + ", {difference}" * (difference.value is not None)
    params, loss = Estimate(row["optimum_params"], unit="param"), Estimate(row["optimum_loss"], unit="nat")
    return Sentence(words, params=params, loss=loss, difference=difference)


def _rates(loaded: Loaded) -> Iterator[Sequence[Value]]:
    """Yield the learning rates that were tried, and the one that each variant got."""
    for unit in loaded.plan.units:
        if not unit.protocol.rates:
            continue
        (case,) = unit.comparison.arms
        cell = loaded.tables.cell(case.id, "lr/best")
        trouble = cell.trouble()
        if trouble:
            yield case, None, None, trouble.reason
            continue
        (notes,), (best,) = cell.notes(RatesNotes), cell.values().values()
        tried = [
            Sentence(
                "{rate} {loss}",
                rate=Estimate(rate, kind="ratio"),
                loss="diverged" if loss is None else Estimate(loss, kind="loss"),
            )
            for rate, loss in zip(notes.rates, notes.losses, strict=True)
        ]
        edge = " (at the edge of the range tried)" * notes.at_edge
        yield case, Estimate(notes.rule), Sentence("{rate}" + edge, rate=Estimate(best, kind="ratio")), Listed(tried)


def attention(count: str) -> str:
    """Which attention FLOPs a budget is charged with, `full` or `causal`, in words."""
    return {"full": "full-square attention", "causal": "causal attention"}[count]
