"""IsoFLOP sweeps: the loss of each variant at each size, the optimum of its curve, and how certain that is.

Each seed gives one curve: a parabola of the loss over the logarithm of the parameters (Hoffmann et al. 2022, approach 2). Its
optimum counts if the parabola opens upwards and the optimum is between the smallest and the largest size trained. Intervals are
over seeds, paired, since all arms of a seed see the same text in the same order. The size with the lowest mean loss, which needs
no fit, is reported too.
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
from modbench.reports import losses
from modbench.reports.load import Loaded
from modbench.reports.panel import is_number
from modbench.reports.style import name

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
class Optimum:
    """The lowest point of one seed's parabola.

    Attributes:
        log_params: natural logarithm of the number of parameters.
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
        case = self.points[0].case
        return name(case.model_copy(update={"arm_parts": case.arm_parts[:-1]}))

    @property
    def best(self) -> Point:
        """The size with the lowest mean loss."""
        return min(self.points, key=lambda point: point.mean)

    @property
    def seeds(self) -> list[int]:
        """Seeds; every size has all of them."""
        return sorted(self.points[0].losses)

    def optima(self) -> dict[int, Optimum | str]:
        """Return each seed's optimum, or the reason why it has none."""
        x = [math.log(point.params) for point in self.points]
        return {seed: optimum(x, [point.losses[seed] for point in self.points]) for seed in self.seeds}


def optimum(log_params: Sequence[float], losses: Sequence[float]) -> Optimum | str:
    """Fit a parabola to the losses by least squares; return its lowest point, or the reason why it has none."""
    if len(log_params) < 3:
        return f"{len(log_params)} sizes are too few for a parabola"
    middle = float(np.mean(log_params))
    a, b, c = np.polyfit(np.array(log_params) - middle, losses, 2)
    if a <= 0:
        return "the curve does not open upwards"
    at = middle - b / (2 * a)
    if not min(log_params) <= at <= max(log_params):
        return f"the optimum is beyond the {'smallest' if at < min(log_params) else 'largest'} size"
    return Optimum(float(at), float(c - b * b / (4 * a)))


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
    made = curves(loaded)
    return pd.DataFrame(
        [_row(loaded, curve, dense_beside(loaded, curve, made)) for curve in made], columns=list(COLUMNS)
    )


def _row(loaded: Loaded, curve: Curve, dense: Curve | None) -> dict[str, object]:
    best, found = curve.best, curve.optima()
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
    reasons = [*curve.lacking, *_reasons(found)]
    mine = {seed: each for seed, each in found.items() if isinstance(each, Optimum)}
    if mine and not reasons:
        place, loss = (
            effects.over_launches([getattr(each, key) for each in mine.values()]) for key in ("log_params", "loss")
        )
        row |= {
            "optimum_params": math.exp(place.value),
            "optimum_params_low": None if place.low is None else math.exp(place.low),
            "optimum_params_high": None if place.high is None else math.exp(place.high),
            "optimum_loss": loss.value,
            "optimum_loss_low": loss.low,
            "optimum_loss_high": loss.high,
        }
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
            row |= _difference("best", paired(best.losses, dense.best.losses))
            theirs = {seed: each.loss for seed, each in dense.optima().items() if isinstance(each, Optimum)}
            if len(theirs) < len(curve.seeds):
                reasons.append("the anchor's curve has no optimum for every seed")
            elif not reasons:
                row |= _difference("optimum", paired({seed: each.loss for seed, each in mine.items()}, theirs))
    return row | {"reason": "; ".join(reasons) or None}


def _reasons(found: dict[int, Optimum | str]) -> list[str]:
    """List why seeds have no optimum, each reason once: `the optimum is beyond the largest size (seeds 0, 2)`."""
    by_reason: dict[str, list[int]] = {}
    for seed, said in found.items():
        if isinstance(said, str):
            by_reason.setdefault(said, []).append(seed)
    return [f"{said} (seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))})" for said, seeds in by_reason.items()]


def in_words(loaded: Loaded) -> list[str]:
    """Return a sentence per routed variant that compares its best size with the best dense size, by the causal loss."""
    rows, said = table(loaded), list[str]()
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
            f"At {in_flops(row['budget'])} {names[row['variant']]} ends {below}{between}, each at the best size "
            f"trained and both routed causally; its cost there against dense (above 1× is better): {', '.join(ratios)}."
        )
    return said


def in_flops(budget: float) -> str:
    """`4e12 training FLOPs`."""
    return f"{budget:.3g} training FLOPs".replace("e+", "e")


def _difference(which: str, effect: Effect) -> dict[str, object]:
    return {f"{which}_difference": effect.value, f"{which}_ci_low": effect.low, f"{which}_ci_high": effect.high}
