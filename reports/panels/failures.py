"""Cells that failed, named with their cause: a failure stays visible."""

from __future__ import annotations

from markupsafe import Markup

from modbench.reports.load import Loaded
from modbench.reports.panel import Panel
from modbench.reports.templates import fill


def render(loaded: Loaded) -> Markup | None:
    """A list of case, metrics and reason; units without a record too."""
    failures = [
        (case, ", ".join(rows.metric), reason)
        for (case, reason), rows in loaded.failed.groupby(["case_id", "reason"], sort=False)
    ]
    missing = loaded.run.missing
    return fill("failures", failures=failures, missing=missing) if failures or missing else None


PANEL = Panel(title="What failed", order=35, span=12, render=render)
