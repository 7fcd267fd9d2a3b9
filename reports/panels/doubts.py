"""Doubts about results: what was found, in which cells, and what to do about it."""

from __future__ import annotations

from markupsafe import Markup

from modbench.reports.panel import Panel
from modbench.reports.questions.doubts import doubts
from modbench.reports.tables.load import Loaded
from modbench.reports.writers.html import inline
from modbench.reports.writers.templates import fill


def render(loaded: Loaded) -> Markup | None:
    """Show an entry for each doubt that found something."""
    found = doubts(loaded)
    return fill("doubts", doubts=found, inline=inline) if found else None


READING = (
    "Each entry is a reason why some number may not mean what it seems to mean: what was found, in which cells, and "
    "below the arrow what to do about it. An entry does not say that a number is wrong. What no check looks for is "
    "not listed."
)

PANEL = Panel(title="What should you doubt?", order=36, span=12, render=render, reading=READING)
