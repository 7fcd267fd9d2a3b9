"""Quality of the timings: for every timed comparison its blocks, what disturbed them, and the state of the machine."""

from __future__ import annotations

from collections import Counter

from markupsafe import Markup

from modbench.harness.results.notes.timing import TimeNotes
from modbench.harness.results.records import Record
from modbench.harness.stats import contamination
from modbench.reports.load import Loaded
from modbench.reports.panel import Panel
from modbench.reports.templates import fill


def render(loaded: Loaded) -> Markup | None:
    """Show a row per comparison and workload."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in loaded.run.records:
        if record.blocks:
            key = (record.unit.workload, record.unit.comparison.place.label)
            groups.setdefault(key, []).append(record)
    if not groups:
        return None
    return fill("quality", rows=[_row(*key, records) for key, records in groups.items()])


def _row(workload: str, where: str, records: list[Record]) -> tuple[str, ...]:
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
        _rounds(notes),
        _warm_up(notes),
    )


def _share(columns: list[dict[str, list[float]]], name: str, wall: float) -> str:
    if not wall or any(name not in each for each in columns):
        return "–"
    return f"{sum(sum(each[name]) for each in columns) / wall:.1%}"


def _rounds(notes: list[TimeNotes]) -> str:
    """Say how many rounds were run, and how many the pilot asked for."""
    made = [note.rounds for note in notes if note.rounds]
    if not made:
        return "fixed"
    low, high = min(each.made for each in made), max(each.made for each in made)
    asked = max(each.asked for each in made)
    return f"{low}{f'–{high}' if high != low else ''} (asked: up to {asked})"


def _warm_up(notes: list[TimeNotes]) -> str:
    """Say whether warm-up was sufficient, if there were enough rounds to test it."""
    if any(note.warmed_up_again for note in notes):
        return "repeated: an arm still drifted"
    return "tested" if all(note.steadiness_tested for note in notes) else "too few rounds to test"


PANEL = Panel(title="How well was it measured?", order=75, span=12, render=render, folded=True)
