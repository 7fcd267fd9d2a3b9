"""The numbers of a model that was measured alone, by metric and length."""

from __future__ import annotations

import pandas as pd
from markupsafe import Markup

from modbench.harness.core.units import human
from modbench.reports.panel import Panel
from modbench.reports.sentences import single_model
from modbench.reports.tables.load import Loaded
from modbench.reports.wording.words import is_number
from modbench.reports.writers.templates import fill


def render(loaded: Loaded) -> Markup | None:
    """Show a row for each metric and a column for each length; nothing for a run that compares, or measured nothing."""
    if not single_model.is_alone(loaded) or not loaded.measured:
        return None
    (case,) = loaded.arms
    rows = loaded.cases[loaded.cases.arm == case.arm]
    lengths = [length for length in sorted(set(rows.seq_len)) if length in {*loaded.lengths_shown, *_trained(rows)}]
    metrics = list(dict.fromkeys(rows.metric))
    found = [[metric, *(_cell(loaded.case(case.arm, metric, length)) for length in lengths)] for metric in metrics]
    head = ("Metric", *(f"T = {length:,}" for length in lengths))
    reasons = dict.fromkeys(
        f"{row.metric}: {row.reason}" for row in rows.itertuples(index=False) if row.status in {"skipped", "failed"}
    )
    return fill(
        "numbers", head=head, rows=found, numbers=range(1, len(head)), why=single_model.WHY, reasons=list(reasons)
    )


def _trained(rows: pd.DataFrame) -> set[int]:
    return {int(length) for length in rows[rows.workload == "train"].seq_len}


def _cell(row: pd.Series | None) -> str:
    """A value with its interval; empty where the metric is not measured at that length."""
    if row is None:
        return ""
    if row.status != "ok":
        return "failed" if row.status == "failed" else "not reported"
    value = human(float(row.value), str(row.unit))
    if not is_number(row.ci_low):
        return value
    return f"{value} [{human(float(row.ci_low), str(row.unit))} – {human(float(row.ci_high), str(row.unit))}]"


READING = (
    "One row for each metric, one column for each length: the value, and in brackets its 95 % interval over launches or seeds. "
    "Counts and peaks of memory have none. Lower is better, but for rates. These numbers hold for this machine alone: to say "
    "whether a model is fast, run it beside another one."
)

PANEL = Panel(title="What does it take?", order=9, span=12, render=render, reading=READING)
