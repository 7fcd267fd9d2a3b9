"""Whether the gate knows: score against the worth of a pass, causal rule against top-k, weights, overlap, drift."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from modbench.reports.model import Arms, Block, Estimate, Figure, Kind, Note, Table, Value
from modbench.reports.panel import Panel
from modbench.reports.panels import _routing as routing
from modbench.reports.panels import _routing_figures as more_figures
from modbench.reports.panels._routing import Arm, Point
from modbench.reports.tables.load import Loaded

SIDES = {"all": "all", "passed": "tokens that passed", "skipped": "tokens that did not"}


def render(loaded: Loaded) -> Iterator[Block]:
    """Show figures of the learned router and its controls, and a table of all routed arms."""
    arms, shown = _shown(loaded)
    if not shown:
        return
    drawn = [_correlations(shown), *more_figures.all_of(shown[0])]
    yield Note(Arms([arm.case for arm in shown]))
    yield from filter(None, drawn)
    every = [*shown, *(arm for arm in arms if arm not in shown)]
    yield Table("Routers in numbers", ("", *(arm.case for arm in every)), _rows(every))
    yield Note(
        "Score ~ worth: rank correlation, within a block, of the router's score with the loss saved by passing one token (the "
        "decision is reversed, later blocks choose again), over as many tokens that passed as did not. Worth: nats saved over "
        "the window by one pass, in thousandths. Predicted: how often the causal rule agrees with the top-k on the same input. "
        "Overlap: Jaccard index of the tokens that two blocks pass. Means over seeds. A control's correlation need not be zero: "
        "a block learns to serve the tokens that it is given."
    )


def _shown(loaded: Loaded) -> tuple[list[Arm], list[Arm]]:
    """Return the routed arms, and of them the one to show and its controls."""
    arms = [arm for arm in routing.arms_of(loaded) if arm.routes]
    focus = routing.focus_of(arms)
    return arms, [] if focus is None else [focus, *routing.controls_of(arms, focus)]


def _correlations(shown: list[Arm]) -> Figure | None:
    series = [(arm, points, False) for arm in shown if (points := correlations(arm))]
    if not series:
        return None
    arm, points, _ = series[0]
    first = points[0]
    sure = first.low is not None and first.high is not None
    controls = [(each[0].value, other.name) for other, each, _ in series if other.control and other is not arm]
    verdict = _verdict(first, max(controls, default=None))
    alone = "95 % bootstrap over windows, for this one trained model"
    reach = f" {routing.seeds_said(arm, alone)}." if sure else ""
    reading = f"{arm.name}: {first.value:+.2f} over {first.n} reversed decisions.{verdict}{reach}"
    return more_figures.dotplot(
        series, list(SIDES.values()), "flips", "rank correlation, score ~ worth", caption=reading
    )


def _verdict(point: Point, control: tuple[float, str] | None) -> str:
    """Say whether the gate knows: its interval is above zero and above the best control.

    Controls count because their blocks, too, adapt to the tokens that they are given.
    """
    if point.low is None or point.high is None:
        return ""
    if point.low <= 0:
        return " It prefers the wrong tokens." if point.high < 0 else " Undecided."
    if control is None:
        return " Above zero; no control was trained."
    value, name = control
    return f" It {'knows' if point.low > value else 'is not clearly above a control'}: {name} has {value:+.2f}."


def correlations(arm: Arm) -> list[Point]:
    """Return correlations by side: from three seeds on the mean and t-interval, else the first seed's with its bootstrap."""
    flips = [each for each in arm.each("flips") if each.get("correlation")]
    points = []
    for side, label in SIDES.items() if flips else ():
        rows = [each["correlation"][side] for each in flips]
        if any(row["rho"] is None for row in rows):
            continue
        if len(rows) >= 3:
            effect = arm.over_seeds(lambda each, side=side: each["correlation"][side]["rho"], "flips")  # type: ignore[misc]
            if effect is not None:
                values = tuple(row["rho"] for row in rows)
                points.append(
                    Point(label, effect.value, effect.low, effect.high, sum(row["n"] for row in rows), values)
                )
        else:
            points.append(Point(label, rows[0]["rho"], rows[0]["low"], rows[0]["high"], rows[0]["n"]))
    return points


# Rows of the table: title, part of the summary, kind of number, factor.
_QUANTITIES: tuple[tuple[str, str, Kind, float], ...] = (
    ("passing, by top-k", "participation", "share", 1.0),
    ("passing, by the causal rule", "participation_causal", "share", 1.0),
    ("what that costs, bits per token", "gap", "difference", 1 / math.log(2)),
    ("predicted correctly", "predictor_accuracy", "share", 1.0),
    ("… by the majority answer", "predictor_base_rate", "share", 1.0),
    ("… balanced accuracy", "predictor_balanced_accuracy", "share", 1.0),
    ("… precision", "predictor_precision", "share", 1.0),
    ("… recall", "predictor_recall", "share", 1.0),
    ("… F1", "predictor_f1", "quantity", 1.0),
    ("overlap of blocks", "overlap", "quantity", 1.0),
    ("… at random", "overlap_expected", "quantity", 1.0),
    ("blocks used ~ output entropy", "entropy_correlation", "difference", 1.0),
    ("blocks used ~ difficulty", "difficulty_correlation", "difference", 1.0),
)


def _rows(arms: list[Arm]) -> list[list[Value]]:
    """Return a row per quantity with a column per arm."""
    return [
        ["score ~ worth", *map(_knows, arms)],
        ["worth of a pass that was made", *(_worth(arm, "passed") for arm in arms)],
        ["… that was not made", *(_worth(arm, "skipped") for arm in arms)],
        *([title, *(_mean(arm, key, kind, factor) for arm in arms)] for title, key, kind, factor in _QUANTITIES),
    ]


def _knows(arm: Arm) -> Value:
    known = correlations(arm)
    if not known or known[0].label != SIDES["all"]:
        return None
    return Estimate(known[0].value, known[0].low, known[0].high, "difference", "nat")


def _mean(arm: Arm, key: str, kind: Kind, factor: float) -> Value:
    effect = arm.over_seeds(lambda each: each["summary"][key])
    return (
        None
        if effect is None
        else Estimate(factor * effect.value, kind=kind, unit="nat" if kind == "difference" else "")
    )


def _worth(arm: Arm, side: str) -> Value:
    """Return the effect on the loss of the whole window (mean times tokens), in thousandths of a nat."""
    tokens = arm.first["seq_len"]

    def value(flips: dict[str, Any]) -> float | None:
        worth = flips["worth"][side]["effect"] if flips.get("worth") else None
        return None if worth is None else 1000 * tokens * float(worth)

    effect = arm.over_seeds(value, "flips")
    return None if effect is None else Estimate(effect.value, kind="difference")


READING = (
    "A router gives each token a score and passes those with the highest. The figures ask whether the score goes with"
    " what a pass is worth: the loss that is saved when that one token passes. A correlation near zero says that the "
    "router does not know which tokens gain. Controls are routers that do not learn."
)

PANEL = Panel(title="Does the gate know?", order=65, span=12, render=render, draws=True, reading=READING)
