"""Prefill and decode: times, rates and bytes of every arm, and the length or batch at which skipping starts to pay."""

from __future__ import annotations

from markupsafe import Markup

from modbench.reports import inference
from modbench.reports.load import Loaded, evenly
from modbench.reports.panel import Panel
from modbench.reports.templates import fill

# Rows of a table that the page holds at most; of more, so many that lie evenly among them.
MOST_ROWS = 500


def render(loaded: Loaded) -> Markup | None:
    """Show a sentence and a table for each workload."""
    tables = [(served.title, *inference.table(loaded, served)) for served in inference.SERVED]
    made = [
        {
            "title": title,
            "header": header,
            "rows": evenly(rows, MOST_ROWS),
            "numbers": range(1, len(header)),
            "left_out": max(0, len(rows) - MOST_ROWS),
        }
        for title, header, rows in tables
        if rows
    ]
    if not made:
        return None
    margin = f"{loaded.run.plan.suite.margin:.0%}"
    return fill("inference", verdicts=inference.verdicts(loaded), tables=made, margin=margin)


PANEL = Panel(title="Prefill and decode: where does it start to pay?", order=15, span=12, render=render)
