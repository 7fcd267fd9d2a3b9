"""Where each arm pays: one row for each, with what it computes, keeps and loses beside the baseline."""

from __future__ import annotations

from modbench.reports.model import Table
from modbench.reports.panel import Panel
from modbench.reports.questions import break_even, pays_from
from modbench.reports.tables.load import Loaded


def render(loaded: Loaded) -> list[Table]:
    """Show the table."""
    made = pays_from.table(loaded)
    return [] if made is None else [made]


READING = (
    "From the length in a cell on, an arm is faster than what stands above the column, in typical calls and in the mean; in "
    "brackets the 95 % interval. Between measured lengths the line is interpolated. A question mark: not decided, or nothing may "
    "be claimed. FLOPs and memory are shares of the baseline's, the loss is a difference: below 0 is better."
)

PANEL = Panel(
    title="From which length on does each arm pay?",
    order=11,
    span=12,
    render=render,
    told=True,
    reading=READING,
    tables={"breakeven": break_even.table},
)
