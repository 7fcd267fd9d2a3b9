"""Cells that failed, with their cause."""

from __future__ import annotations

from markupsafe import Markup

from modbench.reports.panel import Panel
from modbench.reports.tables import logs
from modbench.reports.tables.load import Loaded
from modbench.reports.writers.templates import fill

# Failures, and missing units, that are listed; the rest are counted.
MOST = 200


def render(loaded: Loaded) -> Markup | None:
    """List case, metrics, reason and log of each failure, and units without a record."""
    failures = failed(loaded)
    missing = loaded.run.missing
    if not failures and not missing:
        return None
    more = [(max(0, len(each) - MOST), word) for each, word in ((failures, "failures"), (missing, "missing units"))]
    return fill("failures", failures=failures[:MOST], missing=missing[:MOST], more=[each for each in more if each[0]])


def failed(loaded: Loaded) -> list[tuple[str, str, str]]:
    """Return case, metrics, and reason with log, of every failure."""
    known = logs.logs(loaded.run)
    return [
        (str(case), ", ".join(rows.metric), f"{reason}{logs.beside(str(reason), known, str(case), rows.metric)}")
        for (case, reason), rows in loaded.failed.groupby(["case_id", "reason"], sort=False)
    ]


READING = (
    "Each line is a case that has no number, with the reason that its process gave and the log that tells more. A "
    "failed case is left out of every figure and marked in the tables; the others are not affected by it."
)

PANEL = Panel(title="What failed", order=35, span=12, render=render, reading=READING)
