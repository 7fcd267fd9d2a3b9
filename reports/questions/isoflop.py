"""IsoFLOP sweeps: the loss of each variant at each size, the optimum of its curve, and how certain that is.

All runs of a budget give one fit (`harness/stats/joint_fit.py`): a parabola of the loss over the logarithm of the parameters for
each variant (Hoffmann et al. 2022, approach 2), and an offset of each seed. An optimum counts if the parabola opens upwards and
the optimum is between the smallest and the largest size trained. The size with the lowest mean loss, which needs no fit, is
reported too, with differences seed by seed, since all arms of a seed see the same text in the same order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from modbench.harness.core.case import Case
from modbench.harness.stats import effects
from modbench.harness.stats.effects import Effect
from modbench.harness.stats.joint_fit import JointFit, Optimum, Run
from modbench.reports.tables import losses
from modbench.reports.tables.load import Loaded
from modbench.reports.wording.arm_names import name
from modbench.reports.wording.words import is_number

LOSSES = ("loss/val_causal", "loss/val")
COLUMNS = (
    *("budget", "variant", "metric", "best_arm", "best_size", "best_params", "best_forward_share", "best_step_share"),
    *("best_loss", "best_difference", "best_ci_low", "best_ci_high"),
    *(
        "optimum_params",
        "optimum_params_low",
        "optimum_params_high",
        "optimum_loss",
        "optimum_loss_low",
        "optimum_loss_high",
    ),
    *(
        "optimum_difference",
        "optimum_ci_low",
        "optimum_ci_high",
        "seeds",
        "forward_share_at_parity",
        "parity_is_at_most",
        "reason",
    ),
)


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
    made, suite = dict[tuple[float, str, str], list[Point]](), loaded.run.plan.suite
    lacking: dict[tuple[float, str, str], list[str]] = {}
    for comparison in loaded.run.plan.comparisons:
        for case, metric in itertools.product(comparison.arms, (key for key in LOSSES if key in comparison.metrics)):
            if case.budget is None:
                continue
            key, cell = (case.budget, case.variant, metric), loaded.tables.cell(case.id, metric)
            losses = {number: outcome.samples["value"][0] for number, outcome in cell.good().items()}
            counted = loaded.tables.counted(case)
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
    return sorted(found, key=lambda curve: (curve.budget, LOSSES.index(curve.metric)))


def shown(made: Sequence[Curve], budget: float) -> list[Curve]:
    """Return the curves of a budget: each variant by its causal loss, if it has one."""
    first: dict[str, Curve] = {}
    for curve in made:
        if curve.budget == budget:
            first.setdefault(curve.variant, curve)
    return list(first.values())


def anchor(loaded: Loaded) -> str:
    """Return the baseline variant: that of the first arm of the sweep's comparisons."""
    return next(c.arms[0].variant for c in loaded.run.plan.comparisons if c.arms[0].budget is not None)


def dense_beside(loaded: Loaded, curve: Curve, all_curves: Sequence[Curve]) -> Curve | None:
    """Return the anchor's curve at the same budget, by the same loss if it has one."""
    same = [other for other in all_curves if other.budget == curve.budget and other.variant == anchor(loaded)]
    return next((other for other in same if other.metric == curve.metric), same[0] if same else None)


def paired(mine: dict[int, float], theirs: dict[int, float]) -> Effect:
    """Difference, seed by seed."""
    return effects.over_launches([mine[seed] - theirs[seed] for seed in sorted(mine.keys() & theirs.keys())])


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


def step_share(loaded: Loaded, point: Point, best: Point) -> tuple[float, float | None, float | None] | None:
    """Return a training step's time relative to the best dense size, and its interval; None if steps were not timed."""
    if point.case.arm == best.case.arm:
        return 1.0, None, None
    timed = loaded.pairs[(loaded.pairs.metric == "latency/train_step") & (loaded.pairs.status == "ok")]
    # Each pair is stored once, in one of the two orders.
    for one, other, mirrored in ((point, best, False), (best, point, True)):
        rows = timed[(timed.arm == one.case.arm) & (timed.baseline_arm == other.case.arm)]
        if rows.empty:
            continue
        row = rows.iloc[0]
        low, high = (None, None) if math.isnan(row.ci_low) else (float(row.ci_low), float(row.ci_high))
        if mirrored:  # its ratio is time(point) / time(best)
            return float(row.ratio), low, high
        return 1 / row.ratio, None if high is None else 1 / high, None if low is None else 1 / low
    return None


def table(loaded: Loaded) -> pd.DataFrame:
    """Return `isoflop.csv`: one row per budget, variant and loss; differences to the anchor's variant, seed by seed."""
    made, rows = curves(loaded), list[dict[str, object]]()
    for curve in made:
        dense = dense_beside(loaded, curve, made)
        rows.append(_row(loaded, curve, dense, fit(curve, made, dense)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


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
    reasons = [*curve.lacking, *([found] if isinstance(found, str) else [])]
    if isinstance(found, Optimum) and not reasons:
        row |= _optimum(found)
    if dense is None:
        reasons.append("no baseline: no size of the anchor has a loss for every seed")
    else:
        share, there = step_share(loaded, best, dense.best), parity(curve, dense)
        row |= {
            "best_forward_share": best.forward / dense.best.forward,
            "best_step_share": share[0] if share else None,
            "forward_share_at_parity": there[0] if there else None,
            "parity_is_at_most": there[1] if there else None,
        }
        if curve.variant != dense.variant:
            effect = paired(best.losses, dense.best.losses)
            row |= _difference("best", effect.value, effect.low, effect.high)
            apart = fitted.difference(curve.variant, dense.variant)
            if isinstance(fitted.optimum(dense.variant), str):
                reasons.append("the anchor's curve has no optimum")
            elif apart is not None and not reasons:
                row |= _difference("optimum", apart.value, apart.low, apart.high)
    return row | {"reason": "; ".join(reasons) or None}


def _optimum(found: Optimum) -> dict[str, object]:
    place, loss = found.place, found.loss
    return {
        "optimum_params": math.exp(place.value),
        "optimum_params_low": None if place.low is None else math.exp(place.low),
        "optimum_params_high": None if place.high is None else math.exp(place.high),
        "optimum_loss": loss.value,
        "optimum_loss_low": loss.low,
        "optimum_loss_high": loss.high,
    }


def in_words(loaded: Loaded) -> list[str]:
    """Return a sentence per routed variant that compares its best size with the best dense size, by the causal loss."""
    rows, said = table(loaded), list[str]()
    explored = "Explored, on the seeds and the text that chose it: at " if loaded.run.plan.suite.confirm else "At "
    names = {curve.variant: curve.name for curve in curves(loaded)}
    unit, factor = losses.unit_of(loaded)
    for row in rows[(rows.metric == LOSSES[0]) & rows.best_difference.notna()].to_dict("records"):
        difference, low, high = (row[f"best_{each}"] * factor for each in ("difference", "ci_low", "ci_high"))
        below = f"{abs(difference):.3f} {unit} {'below' if difference < 0 else 'above'} dense"
        between = " (too few seeds for an interval)"
        if is_number(low):
            between = f" [{low:+.3f}, {high:+.3f}]{', undecided' * (low <= 0 <= high)}"
        ratios = [f"forward FLOPs {1 / row['best_forward_share']:.2f}×"]
        ratios += [f"train step {1 / row['best_step_share']:.2f}×"] if is_number(row["best_step_share"]) else []
        said.append(
            f"{explored}{in_flops(row['budget'])} {names[row['variant']]} ends {below}{between}, each at the best size "
            f"trained and both routed causally; its cost there against dense (above 1× is better): {', '.join(ratios)}."
        )
    return said


def in_flops(budget: float) -> str:
    """`4e12 training FLOPs`."""
    return f"{budget:.3g} training FLOPs".replace("e+", "e")


def attention(count: str) -> str:
    """Which attention FLOPs a budget is charged with, `full` or `causal`, in words."""
    return {"full": "full-square attention", "causal": "causal attention"}[count]


def _difference(which: str, value: float, low: float | None, high: float | None) -> dict[str, object]:
    return {f"{which}_difference": value, f"{which}_ci_low": low, f"{which}_ci_high": high}
