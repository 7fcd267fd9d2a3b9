"""Cells that failed, with their cause."""

from __future__ import annotations

from modbench.reports.panel import Panel
from modbench.reports.questions import failures

READING = (
    "Each line is a case that has no number, with the reason that its process gave and the log that tells more. A "
    "failed case is left out of every figure and marked in the tables; the others are not affected by it."
)

PANEL = Panel(title="What failed", order=35, span=12, render=failures.blocks, reading=READING)
