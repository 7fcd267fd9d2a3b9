"""Single components that were timed with pytest-benchmark and imported beside the run."""

from __future__ import annotations

from markupsafe import Markup

from modbench.harness.core.units import human
from modbench.harness.results.components import Component, kept
from modbench.reports.panel import Panel
from modbench.reports.questions.components import told
from modbench.reports.tables.load import Loaded
from modbench.reports.writers.templates import fill

# Rows that the page holds at most.
MOST_ROWS = 200


def render(loaded: Loaded) -> Markup | None:
    """Show a row per benchmark; their quartiles are those of one process."""
    files = kept(loaded.path)
    rows = [_row(each) for file in files for each in file.components]
    if not rows:
        return None
    about = [told(loaded, file) for file in files]
    return fill("components", rows=rows[:MOST_ROWS], about=about, left_out=max(0, len(rows) - MOST_ROWS))


def _row(each: Component) -> tuple[str, ...]:
    def rate(amount: float | None, unit: str) -> str:
        return f"{human(amount / each.median_s, unit)}/s" if amount and each.median_s else "–"

    return (
        each.name,
        human(each.median_s, "s"),
        f"{human(each.q1_s, 's')} to {human(each.q3_s, 's')}",
        human(each.min_s, "s"),
        f"{each.rounds:,} × {each.iterations:,}",
        rate(each.flops, "FLOP"),
        rate(each.bytes, "B"),
    )


READING = (
    "Times of single components from pytest-benchmark, imported into this run by `modbench convert`. They were measured in one "
    "process, so that they have no interval over processes and no verdict: they show where time goes, not what is faster."
)

PANEL = Panel(title="Single components", order=72, span=12, render=render, folded=True, reading=READING)
