"""Single components that were timed with pytest-benchmark and imported beside the run."""

from __future__ import annotations

from modbench.reports.panel import Panel
from modbench.reports.questions import components

READING = (
    "Times of single components from pytest-benchmark, imported into this run by `modbench convert`. They were measured in one "
    "process, so that they have no interval over processes and no verdict: they show where time goes, not what is faster."
)

PANEL = Panel(
    title="Single components",
    order=72,
    span=12,
    render=components.blocks,
    folded=True,
    told=True,
    reading=READING,
    tables={"components": components.table},
)
