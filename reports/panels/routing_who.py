"""Which tokens pass: participation by kind, position, frequency, difficulty, loss and entropy, learned beside controls."""

from __future__ import annotations

from collections.abc import Iterator

from modbench.reports.figures.style import new_figure
from modbench.reports.model import Arms, Block, Estimate, Figure, Note, Sentence, Table, Value
from modbench.reports.panel import Panel
from modbench.reports.panels import _routing as routing
from modbench.reports.panels import _routing_parts as parts
from modbench.reports.panels._routing import TITLES, Arm, Point
from modbench.reports.tables.load import Loaded


def render(loaded: Loaded) -> Iterator[Block]:
    """Show a figure per variable; the numbers are collapsed below."""
    shown = _shown(loaded)
    if not shown:
        return
    focus = shown[0]
    yield Note(Arms([arm.case for arm in shown]))
    yield from (_figure(shown, variable) for variable in TITLES)
    said = (
        "Share of tokens that pass, mean over {layers} routed blocks; thin line: all tokens of {arm}. {tokens} held-out tokens "
        "in {windows} windows, routed by top-k. {seeds}."
    )
    if len(focus.found) > 1:
        said += " Ticks: single seeds."
    said += " Loss and entropy are the model's own, after routing: a token may be easy because it passed."
    alone = "Wilson intervals with windows, not tokens, as independent units; they say nothing about other seeds"
    found = focus.first
    yield Note(
        Sentence(
            said,
            layers=len(found["layers"]),
            arm=focus.case,
            tokens=found["tokens"],
            windows=found["windows"],
            seeds=routing.seeds_said(focus, alone),
        )
    )
    yield Table("Participation in numbers", ("Tokens", "n", *(arm.case for arm in shown)), [*_rows(shown)], folded=True)


def _shown(loaded: Loaded) -> list[Arm]:
    """Return the arm to show and its controls; empty if nothing is routed."""
    arms = routing.arms_of(loaded)
    focus = routing.focus_of(arms)
    return [] if focus is None else [focus, *routing.controls_of(arms, focus)]


def _figure(shown: list[Arm], variable: str) -> Figure:
    series = [(arm, routing.shares(arm, variable), False) for arm in shown]
    labels = [point.label for point in series[0][1]]
    series = [(arm, [point for point in points if point.label in labels], hollow) for arm, points, hollow in series]
    made, (axis,) = new_figure(4.0, 3.0)
    parts.dots(axis, series, labels)
    axis.set_yticks(range(len(labels)), labels)
    parts.hairline(axis, _overall(shown[0]))
    parts.percent_axis(axis)
    axis.set_title(f"passing, by {TITLES[variable]}")
    label, reading = f"Share of tokens that pass by {TITLES[variable]}", _reading(shown[0], series[0][1])
    return Figure(f"who-{variable}", made, label, reading, parts.points_of(series), least=370)


def _overall(arm: Arm) -> float:
    effect = arm.over_seeds(lambda each: each["summary"]["participation"])
    return effect.value if effect else 0.0


def _reading(arm: Arm, points: list[Point]) -> str:
    most, least = max(points, key=lambda point: point.value), min(points, key=lambda point: point.value)
    if most.value == least.value:
        return f"{arm.name}: {most.value:.1%} everywhere."
    return f"{arm.name}: most of {most.label} ({most.value:.1%}), least of {least.label} ({least.value:.1%})."


def _rows(shown: list[Arm]) -> Iterator[list[Value]]:
    for variable, title in TITLES.items():
        columns = [{point.label: point for point in routing.shares(arm, variable)} for arm in shown]
        for label, first in columns[0].items():
            yield [f"{title}: {label}", first.n, *(_cell(column.get(label)) for column in columns)]


def _cell(point: Point | None) -> Value:
    return None if point is None else Estimate(point.value, point.low, point.high, "share")


READING = (
    "Held-out tokens are sorted into groups, such as kinds of token or positions. For each group the figures show the"
    " share that passed through a routed block instead of skipping it. If all groups have the same share, the router "
    "does not tell them apart. It does not say whether the right ones passed."
)

PANEL = Panel(title="Who passes?", order=63, span=12, render=render, draws=True, reading=READING)
