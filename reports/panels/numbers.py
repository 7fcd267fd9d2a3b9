"""The numbers of a model that was measured alone, by metric and length."""

from __future__ import annotations

from collections.abc import Iterator

from modbench.reports.model import Block, Code, Estimate, Note, Sentence, Table, Value
from modbench.reports.panel import Panel
from modbench.reports.questions.first_screen import NOTHING_COMPARED
from modbench.reports.tables.load import Loaded, Row


def render(loaded: Loaded) -> Iterator[Block]:
    """Show a row for each metric and a column for each length; nothing for a run that compares, or measured nothing."""
    if not loaded.alone or not loaded.measured:
        return
    (case,) = loaded.arms
    rows = loaded.cases[loaded.cases.arm == case.arm]
    kept = {*loaded.lengths_shown, *rows[rows.workload == "train"].seq_len}
    lengths = [length for length in sorted(set(rows.seq_len)) if length in kept]
    metrics = list(dict.fromkeys(rows.metric))
    found = [[metric, *(_cell(loaded.case(case.arm, metric, length)) for length in lengths)] for metric in metrics]
    yield Table(
        "Numbers of the model", ("Metric", *(Sentence("T = {length}", length=length) for length in lengths)), found
    )
    yield Note(
        Sentence(
            "One model was measured: {why}. For a baseline name a second {model}, such as {dense}, or leave out {only}.",
            why=NOTHING_COMPARED,
            model=Code("--model"),
            dense=Code("--model dense"),
            only=Code("--only"),
        )
    )
    untold = rows[rows.status.isin(["skipped", "failed"])].itertuples(index=False)
    reasons = dict.fromkeys((str(row.metric), str(row.reason)) for row in untold)
    yield from (Note(Sentence("{metric}: {reason}", metric=metric, reason=reason)) for metric, reason in reasons)


def _cell(row: Row | None) -> Value:
    """A value with its interval; empty where the metric is not measured at that length."""
    if row is None:
        return ""
    if row.status != "ok":
        return "failed" if row.status == "failed" else "not reported"
    return Estimate.of(row.value, row.ci_low, row.ci_high, unit=str(row.unit))


READING = (
    "One row for each metric, one column for each length: the value, and in brackets its 95 % interval over launches or seeds. "
    "Counts and peaks of memory have none. Lower is better, but for rates. These numbers hold for this machine alone: to say "
    "whether a model is fast, run it beside another one."
)

PANEL = Panel(title="What does it take?", order=9, span=12, render=render, reading=READING)
