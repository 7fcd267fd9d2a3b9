"""Single components that were timed with pytest-benchmark and imported beside the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from modbench.harness.results.components import Component, kept
from modbench.reports.model import Block, Estimate, Note, Sentence, Table, Value
from modbench.reports.panel import Panel
from modbench.reports.questions.components import told
from modbench.reports.tables.load import Loaded

# Rows that the page holds at most.
MOST_ROWS = 200
HEAD = ("Component", "Median [middle half]", "Shortest", "Samples × calls", "FLOP rate", "Byte rate")


def render(loaded: Loaded) -> Iterator[Block]:
    """Show a row per benchmark; their quartiles are those of one process."""
    files = kept(loaded.path)
    rows = [_row(each) for file in files for each in file.components]
    if not rows:
        return
    left_out = max(0, len(rows) - MOST_ROWS)
    yield Table("Single components", HEAD, rows[:MOST_ROWS], left_out=left_out, where="components.csv")
    about = " ".join(told(loaded, file) for file in files)
    yield Note(
        f"{about} Each was timed alone, in one process: these times say where time goes, but other launches may differ by more "
        "than their spread, so that there is no interval and no verdict. Rates are those of the median."
    )


def _row(each: Component) -> Sequence[Value]:
    def rate(amount: float | None, unit: str) -> Value:
        per_s = amount / each.median_s if amount and each.median_s else None
        return None if per_s is None else Sentence("{amount}/s", amount=Estimate(per_s, unit=unit))

    return (
        each.name,
        Estimate(each.median_s, each.q1_s, each.q3_s, unit="s"),
        Estimate(each.min_s, unit="s"),
        Sentence("{rounds} × {calls}", rounds=each.rounds, calls=each.iterations),
        rate(each.flops, "FLOP"),
        rate(each.bytes, "B"),
    )


READING = (
    "Times of single components from pytest-benchmark, imported into this run by `modbench convert`. They were measured in one "
    "process, so that they have no interval over processes and no verdict: they show where time goes, not what is faster."
)

PANEL = Panel(title="Single components", order=72, span=12, render=render, folded=True, reading=READING)
