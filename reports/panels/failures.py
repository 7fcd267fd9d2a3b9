"""Cells that failed, named with their cause: a failure stays visible."""

from __future__ import annotations

from markupsafe import Markup

from modbench.reports.load import Loaded
from modbench.reports.panel import Panel


def render(loaded: Loaded) -> Markup | None:
    """A list of case, metrics and reason; units without a record too."""
    failed = loaded.failed
    lines = [
        Markup("<li><code>{}</code> ({}): {}</li>").format(case, ", ".join(rows.metric), reason)
        for (case, reason), rows in failed.groupby(["case_id", "reason"], sort=False)
    ]
    lines += [
        Markup("<li>unit <code>{}</code> has no record: the run is incomplete</li>").format(n)
        for n in loaded.run.missing
    ]
    return Markup('<ul class="failures">{}</ul>').format(Markup("").join(lines)) if lines else None


PANEL = Panel(title="What failed", order=35, span=12, render=render)
