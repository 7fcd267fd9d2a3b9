"""Prefill and decode: rates, quantiles and bytes of every arm by length and batch, and where skipping starts to pay."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from markupsafe import Markup

from modbench.reports.figures.style import bin_of, look
from modbench.reports.model import Block, Code, Estimate, Note, Sentence, Verdict
from modbench.reports.panel import Panel
from modbench.reports.questions import break_even, inference
from modbench.reports.questions.inference import Cell, Grid
from modbench.reports.tables.load import Loaded, subsample_evenly
from modbench.reports.wording.arm_names import short
from modbench.reports.writers.html import inline
from modbench.reports.writers.templates import fill

# Rows of a table that the page holds at most; of more, so many that lie evenly among them.
MOST_ROWS = 500


def render(loaded: Loaded) -> Iterator[Block | Markup]:
    """Show a sentence, a table in the map's colours and all numbers for each workload."""
    grids = [found for served in inference.SERVED if (found := inference.grid(loaded, served)) is not None]
    if not grids:
        return
    yield from break_even.blocks(loaded, [served.time for served in inference.SERVED])
    yield fill("inference", grids=list(map(_table, grids)))
    for table in filter(None, (inference.table(loaded, served) for served in inference.SERVED)):
        left_out = max(0, len(table.rows) - MOST_ROWS)
        yield replace(table, rows=subsample_evenly(table.rows, MOST_ROWS), left_out=left_out, file="cases.csv")
    said = "Ratios are those of the time, over {anchor}: purple is faster, orange slower. {file} has both estimates."
    if any(each.derived for each in grids):
        said += " No rate was asked for, so that tokens per second follow from the typical time."
    yield Note(Sentence(said, anchor=loaded.arms[0], file=Code("breakeven.csv")))


def _table(grid: Grid) -> dict[str, object]:
    """What the template needs of a workload: colours, and text of every cell."""
    return {
        "title": grid.title,
        "places": list(map(inline, grid.places)),
        "rows": [(arm.arm, look(arm), short(arm), list(map(_cell, cells))) for arm, cells in grid.rows],
        "left_out": grid.left_out,
    }


def _cell(cell: Cell | None) -> dict[str, object] | None:
    if cell is None:
        return None
    speed, colour = None, None
    if cell.against is not None and cell.against.typical.value is not None:
        ratio = Estimate(cell.against.typical.value, kind="ratio")
        speed = inline(Sentence("{ratio} {verdict}", ratio=ratio, verdict=Verdict(cell.against.verdict)))
        colour = bin_of(math.log2(cell.against.typical.value))
    rate = None if cell.rate is None else inline(cell.rate)
    return {"rate": rate, "speed": speed, "bin": colour, "lines": list(map(inline, cell.more))}


READING = (
    "Prefill reads a prompt in one call; decoding then makes one token of each row per step, and tokens per second count all "
    "rows. The first table says from which length or batch size on each model is faster, in typical calls and in the mean; in "
    "brackets stands the 95 % interval, and between measured points the line is interpolated. The coloured tables show every "
    "size that was measured; p50 and p95 are of single steps, and KV is what the cache of keys and values holds. Whether a "
    "model's text is as good is not part of it."
)

PANEL = Panel(
    title="Prefill and decode: where does it start to pay?", order=15, span=12, render=render, reading=READING
)
