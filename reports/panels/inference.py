"""Prefill and decode: rates, quantiles and bytes of every arm by length and batch, and where skipping starts to pay."""

from __future__ import annotations

from markupsafe import Markup

from modbench.reports.panel import Panel
from modbench.reports.panels._served_cells import grid
from modbench.reports.questions import inference
from modbench.reports.sentences import break_even_words
from modbench.reports.tables.load import Loaded, evenly
from modbench.reports.wording.arm_names import name
from modbench.reports.writers.templates import fill

# Rows of a table that the page holds at most; of more, so many that lie evenly among them.
MOST_ROWS = 500


def render(loaded: Loaded) -> Markup | None:
    """Show a sentence, a table in the map's colours and all numbers for each workload."""
    grids = [found for served in inference.SERVED if (found := grid(loaded, served)) is not None]
    if not grids:
        return None
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
    return fill(
        "inference",
        verdicts=break_even_words.in_serving(loaded),
        grids=grids,
        tables=made,
        anchor=name(loaded.arms[0]),
        derived=[each.title for each in grids if each.derived],
    )


READING = (
    "Prefill reads a prompt in one call; decoding then makes one token per step. A sentence for each model says from "
    "which size on it is faster than the anchor, and the tables show every size that was measured. Whether its text "
    "is as good is not part of it."
)

PANEL = Panel(
    title="Prefill and decode: where does it start to pay?", order=15, span=12, render=render, reading=READING
)
