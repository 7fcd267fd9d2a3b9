"""How well each comparison was timed: its blocks, and what made them noisy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from modbench.harness.core.group_by import grouped
from modbench.harness.domain.notes import TimeNotes
from modbench.harness.domain.records import Record
from modbench.harness.stats import noise, trend_test
from modbench.reports.tables.load import Loaded


@dataclass(frozen=True)
class Timing:
    """How one workload of a comparison was timed, over all its processes.

    Attributes:
        what: the workload and where it ran.
        processes: processes with a record.
        blocks: blocks of them.
        noisy: mean share of a variant's blocks that were noisy; None where no variant was timed.
        causes: by what, in how many samples.
        stolen: share of the blocks' wall time that other guests of the host took; None where that is not known.
        waited: the same that something waited for a processor.
        warm_up: whether it was enough, as far as that could be tested.
    """

    what: str
    processes: int
    blocks: int
    noisy: float | None
    causes: Counter[str]
    stolen: float | None
    waited: float | None
    warm_up: str


def timings(loaded: Loaded) -> list[Timing]:
    """Return how each comparison was timed in each workload."""
    timed = (record for record in loaded.run.records if record.blocks)
    groups = grouped((f"{each.job.workload} {each.job.comparison.grid_point.label}", each) for each in timed)
    return [_timing(what, records) for what, records in groups.items()]


def _timing(what: str, records: Sequence[Record]) -> Timing:
    columns = [record.blocks[0].columns for record in records]
    good = [
        (outcome, record.blocks[0].columns)
        for record in records
        for outcome in record.outcomes
        if outcome.status == "ok"
    ]
    causes, shares = Counter[str](), []
    for outcome, blocks in good:
        causes.update(noise.counted(noise.causes(outcome.samples, blocks)))
        shares.append(noise.share_of_blocks(outcome.samples, blocks))
    job, wall = records[0].job, sum(sum(each["wall_s"]) for each in columns)
    warm_up = "too few rounds to test"
    if any(outcome.noted(TimeNotes).warmed_up_again for outcome, _ in good):
        warm_up = "repeated: a variant still drifted"
    elif trend_test.testable([job.protocol.rounds] * len(records), len(job.comparison.variants) - 1):
        warm_up = "tested"
    stolen, waited = (
        sum(sum(each[name]) for each in columns) / wall if wall and all(name in each for each in columns) else None
        for name in ("steal_s", "pressure_s")
    )
    n = sum(len(each["block"]) for each in columns)
    return Timing(what, len(records), n, fmean(shares) if shares else None, causes, stolen, waited, warm_up)
