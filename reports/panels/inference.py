"""Prefill and decode: rates, quantiles and bytes of every arm by length and batch, and where skipping starts to pay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from markupsafe import Markup

from modbench.reports.model import Block, Code, Note, Sentence
from modbench.reports.panel import Panel
from modbench.reports.panels._served_cells import grid
from modbench.reports.questions import break_even, inference
from modbench.reports.tables.load import Loaded, evenly
from modbench.reports.writers.templates import fill

# Rows of a table that the page holds at most; of more, so many that lie evenly among them.
MOST_ROWS = 500


def render(loaded: Loaded) -> Iterator[Block | Markup]:
    """Show a sentence, a table in the map's colours and all numbers for each workload."""
    grids = [found for served in inference.SERVED if (found := grid(loaded, served)) is not None]
    if not grids:
        return
    yield from break_even.blocks(loaded, [served.time for served in inference.SERVED])
    yield fill("inference", grids=grids)
    for table in filter(None, (inference.table(loaded, served) for served in inference.SERVED)):
        left_out = max(0, len(table.rows) - MOST_ROWS)
        yield replace(table, rows=evenly(table.rows, MOST_ROWS), left_out=left_out, file="cases.csv")
    said = "Ratios are those of the time, over {anchor}: purple is faster, orange slower. "
    if any(each.derived for each in grids):
        said += "No rate was asked for, so that tokens per second follow from the typical time. "
    said += (
        "To pay: to be faster, in typical calls and in the mean, from that length or batch size on; in brackets the 95 % "
        "interval. Between measured points the line is interpolated; {file} has both estimates. Quality is not part of it. A "
        "decode step makes one token of each row; tokens/s counts all rows. p50, p95: of single steps. KV: keys and values that "
        "the cache holds."
    )
    yield Note(Sentence(said, anchor=loaded.arms[0], file=Code("breakeven.csv")))


READING = (
    "Prefill reads a prompt in one call; decoding then makes one token per step. A sentence for each model says from "
    "which size on it is faster than the anchor, and the tables show every size that was measured. Whether its text "
    "is as good is not part of it."
)

PANEL = Panel(
    title="Prefill and decode: where does it start to pay?", order=15, span=12, render=render, reading=READING
)
