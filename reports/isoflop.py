"""IsoFLOP sweeps: what each variant's loss is at each size, where its curve has its optimum, and how sure that is.

Every seed gives one curve: a parabola of the loss over the logarithm of the parameters (Hoffmann et al. 2022, approach 2). Its
optimum counts where the parabola opens upwards and the optimum lies among the sizes that were trained. The interval is over
seeds; seeds are paired, since arms of a seed see the same text in the same order. Beside it stands what needs no fit: the size
with the lowest mean loss.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from modbench.harness import stats
from modbench.harness.case import Case
from modbench.harness.stats import Effect
from modbench.reports.load import Loaded

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
    *("optimum_difference", "optimum_ci_low", "optimum_ci_high", "seeds", "forward_share_at_parity", "reason"),
)


@dataclass(frozen=True)
class Point:
    """One size of one variant.

    Attributes:
        case: as it was trained.
        params: parameters.
        forward: FLOPs of a forward pass, causal attention.
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

    @property
    def effect(self) -> Effect:
        """Mean and interval over seeds."""
        return stats.over_launches(list(self.losses.values()))


@dataclass(frozen=True)
class Optimum:
    """Where a seed's parabola has its lowest point.

    Attributes:
        log_params: natural logarithm of the parameters there.
        loss: in nats per token.
    """

    log_params: float
    loss: float


@dataclass(frozen=True)
class Curve:
    """One variant at one budget.

    Attributes:
        variant: the arm without its size.
        budget: training FLOPs of every run.
        metric: which loss.
        points: smallest size first.
    """

    variant: str
    budget: float
    metric: str
    points: tuple[Point, ...]

    @property
    def best(self) -> Point:
        """The size with the lowest mean loss."""
        return min(self.points, key=lambda point: point.mean)

    @property
    def seeds(self) -> list[int]:
        """Seeds that every size has."""
        return sorted(set.intersection(*(set(point.losses) for point in self.points)))

    def optima(self) -> dict[int, Optimum | str]:
        """Seed to its optimum, or why it has none."""
        x = [math.log(point.params) for point in self.points]
        return {seed: optimum(x, [point.losses[seed] for point in self.points]) for seed in self.seeds}


def optimum(log_params: Sequence[float], losses: Sequence[float]) -> Optimum | str:
    """Lowest point of the parabola through (or, of more than three points, nearest to) the losses; else why there is none."""
    if len(log_params) < 3:
        return f"{len(log_params)} sizes make no parabola"
    middle = float(np.mean(log_params))
    a, b, c = np.polyfit(np.array(log_params) - middle, losses, 2)
    if a <= 0:
        return "the curve does not open upwards"
    at = middle - b / (2 * a)
    if not min(log_params) <= at <= max(log_params):
        return f"the optimum lies beyond the {'smallest' if at < min(log_params) else 'largest'} size"
    return Optimum(float(at), float(c - b * b / (4 * a)))


def curves(loaded: Loaded) -> list[Curve]:
    """Every variant at every budget, by every loss that was measured; cells without a loss are left out."""
    tables, found = loaded.tables, dict[tuple[float, str, str], list[Point]]()
    for comparison in loaded.run.plan.comparisons:
        for case in comparison.arms:
            if case.budget is None:
                continue
            for metric in LOSSES:
                cell = tables.cell(case.id, metric)
                losses = {number: outcome.samples["value"][0] for number, outcome in cell.good().items()}
                params, forward = tables.counted(case, "params"), tables.counted(case, "forward_causal")
                if losses and params and forward:
                    key = (case.budget, variant(case), metric)
                    found.setdefault(key, []).append(Point(case, float(params), float(forward), losses))
    made = [
        Curve(name, budget, metric, tuple(sorted(points, key=lambda point: point.params)))
        for (budget, name, metric), points in found.items()
    ]
    return sorted(made, key=lambda curve: (curve.budget, LOSSES.index(curve.metric)))


def variant(case: Case) -> str:
    """The arm without its size: `mod[c0.125]`, `dense`."""
    parts = case.arm_parts[:-1]
    if case.rung:
        return "-".join((case.short_model, *parts))
    return f"{case.short_model}[{'-'.join(parts)}]" if parts else case.short_model


def dense_beside(curve: Curve, all_curves: Sequence[Curve]) -> Curve | None:
    """The anchor's curve at the same budget: by the causal loss, which for a dense model is the only one."""
    same = [other for other in all_curves if other.budget == curve.budget and other.variant == all_curves[0].variant]
    return next((other for other in same if other.metric == curve.metric), same[0] if same else None)


def paired(mine: dict[int, float], theirs: dict[int, float]) -> Effect:
    """Difference, seed by seed."""
    return stats.over_launches([mine[seed] - theirs[seed] for seed in sorted(mine.keys() & theirs.keys())])


def parity(curve: Curve, dense: Curve) -> float | None:
    """Smallest forward FLOPs, over those of the best dense size, at which the mean curve reaches the best dense loss.

    Between sizes the mean loss is taken to be straight over the logarithm of the FLOPs; None where it never gets there.
    """
    goal, whole = dense.best.mean, dense.best.forward
    points = sorted(curve.points, key=lambda point: point.forward)
    if points[0].mean <= goal:
        return points[0].forward / whole
    for low, high in itertools.pairwise(points):
        if low.mean > goal >= high.mean:
            share = (low.mean - goal) / (low.mean - high.mean)
            return math.exp(math.log(low.forward) * (1 - share) + math.log(high.forward) * share) / whole
    return None


def step_share(loaded: Loaded, point: Point, best: Point) -> tuple[float, float | None, float | None] | None:
    """Time of a training step over that of the best dense size, and its interval; None where steps were not timed."""
    if point.case.arm == best.case.arm:
        return 1.0, None, None
    rows = loaded.pairs[
        (loaded.pairs.metric == "latency/train_step")
        & (loaded.pairs.status == "ok")
        & (loaded.pairs.arm == point.case.arm)
        & (loaded.pairs.baseline_arm == best.case.arm)
    ]
    if rows.empty:
        return None
    row = rows.iloc[0]
    known = row.ci_low == row.ci_low  # NaN is the only value unequal to itself
    return 1 / row.ratio, 1 / row.ci_high if known else None, 1 / row.ci_low if known else None


def table(loaded: Loaded) -> pd.DataFrame:
    """`isoflop.csv`: one row per budget, variant and loss; differences are against the anchor's variant, seed by seed."""
    made = curves(loaded)
    return pd.DataFrame([_row(loaded, curve, made) for curve in made], columns=list(COLUMNS))


def _row(loaded: Loaded, curve: Curve, made: Sequence[Curve]) -> dict[str, object]:
    dense = dense_beside(curve, made)
    best, found = curve.best, curve.optima()
    row: dict[str, object] = {
        "budget": curve.budget,
        "variant": curve.variant,
        "metric": curve.metric,
        "best_arm": best.case.arm,
        "best_size": best.case.arm_parts[-1],
        "best_params": best.params,
        "best_loss": best.mean,
        "seeds": " ".join(map(str, curve.seeds)),
    }
    reasons = _reasons(found)
    mine = {seed: each for seed, each in found.items() if isinstance(each, Optimum)}
    if mine and not reasons:
        place, loss = (
            stats.over_launches([getattr(each, key) for each in mine.values()]) for key in ("log_params", "loss")
        )
        row |= {
            "optimum_params": math.exp(place.value),
            "optimum_params_low": None if place.low is None else math.exp(place.low),
            "optimum_params_high": None if place.high is None else math.exp(place.high),
            "optimum_loss": loss.value,
            "optimum_loss_low": loss.low,
            "optimum_loss_high": loss.high,
        }
    if dense is not None:
        share = step_share(loaded, best, dense.best)
        row |= {
            "best_forward_share": best.forward / dense.best.forward,
            "best_step_share": share[0] if share else None,
            "forward_share_at_parity": parity(curve, dense),
        }
        if curve.variant != dense.variant:
            row |= _difference("best", paired(best.losses, dense.best.losses))
            theirs = {seed: each.loss for seed, each in dense.optima().items() if isinstance(each, Optimum)}
            if not reasons and len(theirs) == len(mine):
                row |= _difference("optimum", paired({seed: each.loss for seed, each in mine.items()}, theirs))
    return row | {"reason": "; ".join(reasons) or None}


def _reasons(found: dict[int, Optimum | str]) -> list[str]:
    """Why seeds have no optimum, each reason once: `the optimum lies beyond the largest size (seeds 0, 2)`."""
    by_reason: dict[str, list[int]] = {}
    for seed, said in found.items():
        if isinstance(said, str):
            by_reason.setdefault(said, []).append(seed)
    return [f"{said} (seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))})" for said, seeds in by_reason.items()]


def in_words(loaded: Loaded) -> list[str]:
    """One sentence for each routed variant, by the loss that needs no future: at its best size against the best dense one."""
    rows, said = table(loaded), list[str]()
    for row in rows[(rows.metric == LOSSES[0]) & rows.best_difference.notna()].to_dict("records"):
        below = f"{abs(row['best_difference']):.3f} nats {'below' if row['best_difference'] < 0 else 'above'} dense"
        known = row["best_ci_low"] == row["best_ci_low"]  # NaN is the only value unequal to itself
        between = (
            f" [{row['best_ci_low']:+.3f}, {row['best_ci_high']:+.3f}]" if known else " (too few seeds for an interval)"
        )
        step = f" and {row['best_step_share']:.2f}× its step time" if row["best_step_share"] else ""
        said.append(
            f"At {row['budget']:.3g} training FLOPs {row['variant']} ends {below}{between}, each at its best size of those "
            f"trained, with {row['best_forward_share']:.2f}× the forward FLOPs{step}; both without the future."
        )
    return said


def _difference(which: str, effect: Effect) -> dict[str, object]:
    return {f"{which}_difference": effect.value, f"{which}_ci_low": effect.low, f"{which}_ci_high": effect.high}
