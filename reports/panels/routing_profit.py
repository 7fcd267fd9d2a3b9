"""Which tokens profit: loss against the dense model of equal cost, by kind of token, position, frequency and difficulty."""

from __future__ import annotations

import math
from collections.abc import Iterator

from modbench.harness.stats import effects
from modbench.reports.figures.style import new_figure
from modbench.reports.model import Arms, Block, Estimate, Figure, Note, Sentence, Table, Value
from modbench.reports.panel import Panel
from modbench.reports.panels import _routing as routing
from modbench.reports.panels import _routing_parts as parts
from modbench.reports.panels._routing import TITLES, Arm, Point
from modbench.reports.tables.load import Loaded

_VARIABLES = ("kind", "position", "frequency", "difficulty")
ALL = "all tokens"


def render(loaded: Loaded) -> Iterator[Block]:
    """Show a figure per variable, with all tokens as the first row; the numbers are collapsed below."""
    found = _found(loaded)
    if found is None:
        return
    shown, dense, equal, tables = found
    yield Note(Arms([arm.case for arm in shown]))
    yield from (_figure(shown, dense, variable, columns) for variable, columns in tables.items())
    said = (
        "Held-out loss minus that of {dense} ({equal}), in bits per token: left of the line the routed model is better. {how} "
        "{paired}"
    )
    if any(_peeked(arm) for arm in shown):
        said += " Hollow: routed by top-k, which sees later tokens, so those losses flatter it."
    yield Note(Sentence(said, dense=dense.case, equal=equal, how=_how(shown[0]), paired=_paired(shown[0], dense)))
    rows = [row for variable, columns in tables.items() for row in _rows(variable, columns)]
    yield Table("Loss differences in numbers", ("Tokens", "share", *(arm.case for arm in shown)), rows, folded=True)


def _found(loaded: Loaded) -> tuple[list[Arm], Arm, str, dict[str, list[list[Point]]]] | None:
    """Return the arms to show, the dense arm beside them, what is equal, and by variable the differences of each arm."""
    arms = routing.arms_of(loaded)
    focus = routing.focus_of(arms)
    beside = None if focus is None else routing.dense_beside(loaded, arms, focus)
    if focus is None or beside is None:
        return None
    dense, equal = beside
    shown = [focus, *(arm for arm in routing.controls_of(arms, focus) if arm.case.model == focus.case.model)]
    tables = {variable: [differences(arm, dense, variable) for arm in shown] for variable in _VARIABLES}
    tables = {variable: columns for variable, columns in tables.items() if columns[0]}
    return (shown, dense, equal, tables) if tables else None


def _peeked(arm: Arm) -> bool:
    """Whether its only loss is that of top-k routing, which saw later tokens."""
    return arm.first["summary"]["loss_causal"] is None


def _how(focus: Arm) -> str:
    return "" if _peeked(focus) else "All routed causally, as in decoding."


def _paired(arm: Arm, dense: Arm) -> str:
    n = len(arm.found.keys() & dense.found.keys())
    if n >= 3:
        return f"{n} seeds, paired: mean and 95 % t-interval over seeds; ticks: single seeds."
    return f"{n} seed{'s' * (n != 1)}: an illustration without intervals; three seeds give them."


def differences(arm: Arm, dense: Arm, variable: str) -> list[Point]:
    """Return loss minus the dense model's by bin, in bits per token, paired by seed; bins of different text are left out."""
    pairs = [
        (arm.found[seed]["routing"], dense.found[seed]["routing"]) for seed in sorted(arm.found.keys() & dense.found)
    ]
    tables = [tuple({row["label"]: row for row in routing.bins_of(side, variable)} for side in pair) for pair in pairs]
    key = "loss" if _peeked(arm) else "loss_causal"
    points = []
    for label in tables[0][0] if tables else ():
        rows = [(mine.get(label), theirs.get(label)) for mine, theirs in tables]
        values = [
            (mine[key] - theirs["loss"]) / math.log(2)
            for mine, theirs in rows
            if mine and theirs and mine["n"] == theirs["n"]
        ]
        if len(values) == len(tables):
            points.append(_point(label, values, tables[0][0][label]["n"]))
    if not points:
        return []
    whole = [(mine["summary"][key] - theirs["summary"]["loss"]) / math.log(2) for mine, theirs in pairs]
    return [_point(ALL, whole, pairs[0][0]["tokens"]), *points]


def _point(label: str, values: list[float], n: int) -> Point:
    effect = effects.over_launches(values)
    return Point(label, effect.value, effect.low, effect.high, n, tuple(values) if len(values) > 1 else ())


def _figure(shown: list[Arm], dense: Arm, variable: str, columns: list[list[Point]]) -> Figure:
    labels = [point.label for point in columns[0]]
    whole = columns[0][0].n
    series = [
        (arm, [point for point in points if point.label in labels], _peeked(arm))
        for arm, points in zip(shown, columns, strict=True)
    ]
    made, (axis,) = new_figure(3.4, 3.0)
    parts.dots(axis, series, labels)
    axis.locator_params(axis="x", nbins=5)  # labels such as -0.075 are wide
    axis.set_yticks(range(len(labels)), [_named(point, whole) for point in columns[0]])
    parts.hairline(axis, 0.0)
    parts.titled(axis, f"bits per token, by {TITLES[variable]}", most=32)
    label, reading = f"Loss minus that of {dense.name} by {TITLES[variable]}", _reading(shown[0], columns[0])
    return Figure(f"profit-{variable}", made, label, reading, parts.points_of(series), least=270)


def _named(point: Point, whole: int) -> str:
    return point.label if point.label == ALL else f"{point.label} ({_share(point.n, whole)})"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if part >= 0.01 * whole else "<1%"


def _reading(arm: Arm, points: list[Point]) -> str:
    """Name the best and the worst bin."""
    bins = points[1:]
    best, worst = min(bins, key=lambda point: point.value), max(bins, key=lambda point: point.value)
    return f"{arm.name}: best on {best.label} ({best.value:+.3f}), worst on {worst.label} ({worst.value:+.3f})."


def _rows(variable: str, columns: list[list[Point]]) -> list[list[Value]]:
    by_label = [{point.label: point for point in points} for points in columns]
    whole = columns[0][0].n
    return [
        [f"{TITLES[variable]}: {label}", _share(first.n, whole), *(_cell(column.get(label)) for column in by_label)]
        for label, first in by_label[0].items()
    ]


def _cell(point: Point | None) -> Value:
    return None if point is None else Estimate(point.value, point.low, point.high, "difference", "nat")


READING = (
    "Held-out tokens are sorted into groups, such as kinds of token or positions. For each group the figures show the"
    " loss of the routed model minus that of the dense one: left of the line skipping did no harm there. Groups "
    "overlap between figures, so differences must not be added up."
)

PANEL = Panel(title="Who profits?", order=64, span=12, render=render, draws=True, reading=READING)
