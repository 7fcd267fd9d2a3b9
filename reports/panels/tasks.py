"""Accuracy on tasks at equal training FLOPs, with that of rules that do not solve the tasks."""

from __future__ import annotations

from modbench.reports.model import Table
from modbench.reports.panel import Lead, Panel
from modbench.reports.questions import tasks
from modbench.reports.tables.load import Loaded


def render(loaded: Loaded) -> list[Table]:
    """Show a row for each variant on each task."""
    made = tasks.table(loaded)
    return [] if made is None else [made]


PANEL = Panel(
    title="What can they still do?",
    order=8,
    span=12,
    render=render,
    told=True,
    reading=(
        "Each variant spent the same training FLOPs on small made-up tasks, and answers new questions. Only above the best "
        "shortcut has it learned something of the task; these tasks are no measure of language."
    ),
    tables=[tasks.TABLE],
    lead=Lead(answer=tasks.answer, doubts=tasks.doubts, table=tasks.table),
)
