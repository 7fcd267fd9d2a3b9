"""Pieces that the panels about routing are put together from: dot plots, legends, grids, tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from markupsafe import Markup

from modbench.reports.panels._routing import Arm, Point
from modbench.reports.style import MUTED


def dots(axis: Any, series: Sequence[tuple[Arm, Sequence[Point], bool]], labels: Sequence[str]) -> None:  # noqa: ANN401  # a matplotlib Axes
    """Points with capless intervals (dotted of controls), single seeds as ticks: a row for each bin, arms a little apart.

    Args:
        axis: where.
        series: arms, their points, and whether their marks are hollow.
        labels: of the rows, from the top.
    """
    step = 0.7 / max(1, len(series))
    for number, (arm, points, hollow) in enumerate(series):
        style = arm.look
        for point in points:
            y = labels.index(point.label) + (number - (len(series) - 1) / 2) * step
            if point.low is not None and point.high is not None:
                dash = (0, (1.5, 1)) if arm.control else "-"
                axis.plot([point.low, point.high], [y, y], color=style.color, linewidth=1.3, linestyle=dash)
            axis.plot(point.seeds, [y] * len(point.seeds), "|", markersize=6, color=style.color, alpha=0.55)
            face = "none" if hollow else style.color
            axis.plot(
                [point.value], [y], style.marker, markersize=4.5, markerfacecolor=face, markeredgecolor=style.color
            )
    axis.set_ylim(len(labels) - 0.4, -0.6)
    axis.grid(visible=False, axis="y")
    axis.tick_params(axis="y", length=0)


def percent_axis(axis: Any) -> None:  # noqa: ANN401  # a matplotlib Axes
    """Shares along x as whole per cents, from 0."""
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axis.set_xlim(left=0)


def hairline(axis: Any, at: float, *, vertical: bool = True) -> None:  # noqa: ANN401  # a matplotlib Axes
    """A thin line to compare with."""
    (axis.axvline if vertical else axis.axhline)(at, color=MUTED, linewidth=0.8, zorder=0)


def legend(arms: Iterable[Arm]) -> Markup:
    """The arms' marks and names as a line of text that wraps."""
    return Markup('<p class="note" style="margin:0 0 8px">{}</p>').format(
        Markup(" &ensp; ").join(
            Markup('<span style="white-space:nowrap"><b style="color:var(--series-{})">{}</b> {}</span>').format(
                int(arm.look.color[-2:]), arm.look.glyph, arm.name
            )
            for arm in arms
        )
    )


def side_by_side(parts: Iterable[Markup], least: int, *, stretch: bool = True) -> Markup:
    """Parts beside one another as far as they are at least so many pixels wide, else one below the other.

    Args:
        parts: what stands there.
        least: width in pixels.
        stretch: whether few parts share the whole width, however large they get.
    """
    return Markup(
        '<div style="display:grid;gap:20px;grid-template-columns:repeat({},minmax(min(100%,{}px),1fr))">{}</div>'
    ).format("auto-fit" if stretch else "auto-fill", least, Markup("").join(parts))


def note(text: str) -> Markup:
    """A line below."""
    return Markup('<p class="note">{}</p>').format(text)


def numbers(head: Sequence[str], rows: Iterable[Sequence[str]], label: str, *, folded: bool) -> Markup:
    """A table that scrolls inside its frame; the first column is text, the rest are numbers."""
    top = Markup("").join(
        Markup('<th scope="col" class="{}">{}</th>').format("number" if i else "", cell) for i, cell in enumerate(head)
    )
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(
            Markup("").join(
                Markup('<td class="{}">{}</td>').format("number" if i else "", cell) for i, cell in enumerate(row)
            )
        )
        for row in rows
    )
    table = Markup(
        '<div class="scroll" tabindex="0" role="region" aria-label="{}"><table><thead><tr>{}</tr></thead><tbody>{}</tbody>'
        "</table></div>"
    ).format(label, top, body)
    if not folded:
        return Markup('<div style="margin-top:16px">{}</div>').format(table)
    return Markup('<details style="margin-top:12px"><summary>{}</summary>{}</details>').format(label, table)
