"""Quality of the timings: for every timed comparison its blocks, what disturbed them, and the state of the machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from modbench.harness.core.grouped import grouped
from modbench.harness.domain.evidence import LaunchCount
from modbench.harness.domain.notes.timing import TimeNotes
from modbench.harness.domain.records import Record
from modbench.harness.stats import contamination, trend_test
from modbench.reports.model import Block, Estimate, Listed, Note, Sentence, Table, Value
from modbench.reports.panel import Panel
from modbench.reports.tables.load import Loaded, subsample_evenly

# Rows that the page holds at most.
MOST_ROWS = 200
HEAD = (
    *("Timed", "Launches", "Blocks", "Disturbed", "By what", "Stolen", "Waited for", "Load"),
    *("Number", "Warm-up"),
)


def render(loaded: Loaded) -> Iterator[Block]:
    """Show a row per comparison and workload, of many some that lie evenly among them."""
    timed = [record for record in loaded.run.records if record.blocks]
    groups = grouped(((each.unit.workload, each.unit.comparison.place.label), each) for each in timed)
    if not groups:
        return
    few = subsample_evenly(list(groups), MOST_ROWS)
    rows = [_row(loaded, *key, groups[key]) for key in few]
    left_out = len(groups) - len(few)
    yield Table("Quality of the timings", HEAD, rows, left_out=left_out, file="units/", rows_are="comparisons")
    yield Note(
        "A block is disturbed where any sample of it was: it waited for a processor for over 1 % of its time, garbage was "
        "collected, other guests of the host took time, or a GPU throttled. No block is dropped; if more than half are "
        "disturbed, wall time supports no claim. Stolen and waited for: share of the blocks' wall time, over the whole machine. "
        "Warm-up is tested by an arm's trend against the anchor (Theil-Sen, Mann-Kendall, over all launches pooled; 1 % level "
        "divided among the arms)."
    )


def _row(loaded: Loaded, workload: str, where: str, records: list[Record]) -> Sequence[Value]:
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
        len(records),
        sum(len(each["block"]) for each in columns),
        Estimate(sum(shares) / len(shares), kind="share") if shares else None,
        Listed([Sentence("{cause} ({n})", cause=cause, n=n) for cause, n in causes.most_common(3)])
        if causes
        else "nothing",
        _share(columns, "steal_s", wall),
        _share(columns, "pressure_s", wall),
        Estimate(max(max(each["load"]) for each in columns)) if all("load" in each for each in columns) else None,
        _launches(loaded, records),
        _warm_up(notes, records),
    )


def _share(columns: list[dict[str, list[float]]], name: str, wall: float) -> Value:
    if not wall or any(name not in each for each in columns):
        return None
    return Estimate(sum(sum(each[name]) for each in columns) / wall, kind="share")


def _launches(loaded: Loaded, records: list[Record]) -> str:
    """Say how many launches the pilot asked for."""
    decided = loaded.run.found(LaunchCount).get(records[0].unit.series)
    if decided is None:
        return "fixed" if not loaded.run.plan.suite.two_stage else "not decided"
    return "no number" if decided.asked is None else f"asked: {decided.asked_in_words}" + " (capped)" * decided.capped


def _warm_up(notes: list[TimeNotes], records: list[Record]) -> str:
    """Say whether warm-up was sufficient, if there were enough blocks to test it."""
    if any(note.warmed_up_again for note in notes):
        return "repeated: an arm still drifted"
    unit = records[0].unit
    tested = trend_test.testable([unit.protocol.rounds] * len(records), len(unit.comparison.arms) - 1)
    return "tested" if tested else "too few rounds to test"


READING = (
    "A timing is a comparison of blocks that alternate between arms. The table says how many blocks something else on"
    " the machine disturbed, and by what. Many disturbed blocks make intervals wide; above half of them no verdict is"
    " given. A quiet table does not prove that the machine was quiet."
)

PANEL = Panel(
    title="How well was it measured?",
    order=75,
    span=12,
    render=render,
    folded=True,
    reading=READING,
    rules=frozenset({"launch_count"}),
)
