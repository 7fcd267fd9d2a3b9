"""Cells that failed, with their cause."""

from __future__ import annotations

from markupsafe import Markup

from modbench.reports.load import Loaded
from modbench.reports.panel import Panel
from modbench.reports.templates import fill


def render(loaded: Loaded) -> Markup | None:
    """List case, metrics and reason of each failure, and units without a record."""
    failures = [
        (case, ", ".join(rows.metric), reason)
        for (case, reason), rows in loaded.failed.groupby(["case_id", "reason"], sort=False)
    ]
    missing = loaded.run.missing
    return fill("failures", failures=failures, missing=missing) if failures or missing else None


PANEL = Panel(title="What failed", order=35, span=12, render=render)
