"""Which tokens pass: participation by kind, position, frequency, difficulty, loss and entropy, learned beside controls."""

from __future__ import annotations

from markupsafe import Markup

from modbench.reports.figures.style import new_figure
from modbench.reports.panel import Drawing, Panel, on_page
from modbench.reports.panels import _routing as routing
from modbench.reports.panels import _routing_parts as parts
from modbench.reports.panels._routing import TITLES, Arm, Point
from modbench.reports.tables.load import Loaded
from modbench.reports.writers.templates import fill


def render(loaded: Loaded) -> Markup | None:
    """Show a figure per variable; the numbers are collapsed below."""
    shown = _shown(loaded)
    if not shown:
        return None
    focus = shown[0]
    alone = "Wilson intervals with windows, not tokens, as independent units; they say nothing about other seeds"
    return fill(
        "routing_who",
        arms=shown,
        figures=on_page(_figure(shown, variable) for variable in TITLES),
        layers=len(focus.first["layers"]),
        tokens=f"{focus.first['tokens']:,}",
        windows=focus.first["windows"],
        seeds=routing.seeds_said(focus, alone),
        several_seeds=len(focus.found) > 1,
        head=("Tokens", "n", *(arm.name for arm in shown)),
        rows=_rows(shown),
    )


def figures(loaded: Loaded) -> list[Drawing]:
    """Draw a figure per variable."""
    shown = _shown(loaded)
    return [_figure(shown, variable) for variable in TITLES] if shown else []


def _shown(loaded: Loaded) -> list[Arm]:
    """Return the arm to show and its controls; empty if nothing is routed."""
    arms = routing.arms_of(loaded)
    focus = routing.focus_of(arms)
    return [] if focus is None else [focus, *routing.controls_of(arms, focus)]


def _figure(shown: list[Arm], variable: str) -> Drawing:
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
    return Drawing(f"who-{variable}", made, label, reading, parts.points_of(series))


def _overall(arm: Arm) -> float:
    effect = arm.over_seeds(lambda each: each["summary"]["participation"])
    return effect.value if effect else 0.0


def _reading(arm: Arm, points: list[Point]) -> str:
    most, least = max(points, key=lambda point: point.value), min(points, key=lambda point: point.value)
    if most.value == least.value:
        return f"{arm.name}: {most.value:.1%} everywhere."
    return f"{arm.name}: most of {most.label} ({most.value:.1%}), least of {least.label} ({least.value:.1%})."


def _rows(shown: list[Arm]) -> list[list[str]]:
    rows = []
    for variable, title in TITLES.items():
        columns = [{point.label: point for point in routing.shares(arm, variable)} for arm in shown]
        for label, first in columns[0].items():
            cells = [_cell(column.get(label)) for column in columns]
            rows.append([f"{title}: {label}", f"{first.n:,}", *cells])
    return rows


def _cell(point: Point | None) -> str:
    if point is None:
        return "–"
    spread = "" if point.low is None or point.high is None else f" [{100 * point.low:.1f}–{100 * point.high:.1f}]"
    return f"{point.value:.1%}{spread}"


READING = (
    "Held-out tokens are sorted into groups, such as kinds of token or positions. For each group the figures show the"
    " share that passed through a routed block instead of skipping it. If all groups have the same share, the router "
    "does not tell them apart. It does not say whether the right ones passed."
)

PANEL = Panel(title="Who passes?", order=63, span=12, render=render, figures=figures, reading=READING)
