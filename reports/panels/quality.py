"""Quality of the timings: for every timed comparison its blocks, what disturbed them, and the state of the machine."""

from __future__ import annotations

from collections import Counter

from markupsafe import Markup

from modbench.harness.results.notes.timing import TimeNotes
from modbench.harness.results.records import Record
from modbench.harness.stats import contamination, steady
from modbench.reports.panel import Panel
from modbench.reports.tables.load import Loaded, evenly
from modbench.reports.writers.templates import fill

# Rows that the page holds at most.
MOST_ROWS = 200


def render(loaded: Loaded) -> Markup | None:
    """Show a row per comparison and workload, of many some that lie evenly among them."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in loaded.run.records:
        if record.blocks:
            key = (record.unit.workload, record.unit.comparison.place.label)
            groups.setdefault(key, []).append(record)
    if not groups:
        return None
    few = evenly(list(groups), MOST_ROWS)
    rows = [_row(loaded, *key, groups[key]) for key in few]
    return fill("quality", rows=rows, left_out=len(groups) - len(few))


def _row(loaded: Loaded, workload: str, where: str, records: list[Record]) -> tuple[str, ...]:
    causes: Counter[str] = Counter()
    shares: list[float] = []
    notes: list[TimeNotes] = []
    for record in records:
        (blocks,) = record.blocks
        for outcome in record.outcomes:
            if outcome.status == "ok":
                causes.update(contamination.counted(contamination.causes(outcome.samples, blocks.columns)))
                shares.append(contamination.share_of_blocks(outcome.samples, blocks.columns))
                notes.append(outcome.noted(TimeNotes))
    columns = [record.blocks[0].columns for record in records]
    wall = sum(sum(each["wall_s"]) for each in columns)
    return (
        f"{workload} {where}",
        str(len(records)),
        str(sum(len(each["block"]) for each in columns)),
        f"{sum(shares) / len(shares):.0%}" if shares else "–",
        ", ".join(f"{cause} ({n})" for cause, n in causes.most_common(3)) or "nothing",
        _share(columns, "steal_s", wall),
        _share(columns, "pressure_s", wall),
        f"{max(max(each['load']) for each in columns):.2f}" if all("load" in each for each in columns) else "–",
        _launches(loaded, records),
        _warm_up(notes, records),
    )


def _share(columns: list[dict[str, list[float]]], name: str, wall: float) -> str:
    if not wall or any(name not in each for each in columns):
        return "–"
    return f"{sum(sum(each[name]) for each in columns) / wall:.1%}"


def _launches(loaded: Loaded, records: list[Record]) -> str:
    """Say how many launches the pilot asked for."""
    decided = loaded.run.decisions.get(records[0].unit.series)
    if decided is None:
        return "fixed" if not loaded.run.plan.suite.two_stage else "not decided"
    return "no number" if decided.asked is None else f"asked: {decided.asked_in_words}" + " (capped)" * decided.capped


def _warm_up(notes: list[TimeNotes], records: list[Record]) -> str:
    """Say whether warm-up was sufficient, if there were enough blocks to test it."""
    if any(note.warmed_up_again for note in notes):
        return "repeated: an arm still drifted"
    unit = records[0].unit
    tested = steady.testable([unit.protocol.rounds] * len(records), len(unit.comparison.arms) - 1)
    return "tested" if tested else "too few rounds to test"


READING = (
    "A timing is a comparison of blocks that alternate between arms. The table says how many blocks something else on"
    " the machine disturbed, and by what. Many disturbed blocks make intervals wide; above half of them no verdict is"
    " given. A quiet table does not prove that the machine was quiet."
)

PANEL = Panel(title="How well was it measured?", order=75, span=12, render=render, folded=True, reading=READING)
