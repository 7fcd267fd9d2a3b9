"""The effect of one arm against another in a single launch, as its record shows it, and by which clock launches are compared."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from modbench.harness.domain.case import Case
from modbench.harness.domain.records import Record
from modbench.harness.stats import contamination, effects, paired
from modbench.harness.stats.block_effects import Columns


def clock(records: Sequence[Record]) -> str | None:
    """Return `cpu_s` where over half of the blocks were disturbed and CPU time stands for the work; None: the measured time.

    Args:
        records: launches of one comparison.
    """
    samples, shares = dict[str, list[Columns]](), list[float]()
    for record in records:
        blocks = next((each.columns for each in record.blocks), None)
        first = next((outcome.metric for outcome in record.outcomes), None)
        for outcome in record.outcomes:
            if outcome.metric == first and outcome.status == "ok":
                samples.setdefault(outcome.case, []).append(outcome.samples)
                shares.append(contamination.share_of_blocks(outcome.samples, blocks))
    if not shares or fmean(shares) <= contamination.MOST or not records[0].unit.comparison.place.one_thread:
        return None
    ticked = all(paired.ticked(each, {}) for side in samples.values() for each in side)
    return "cpu_s" if ticked and paired.unfit(samples.values()) is None else None


def effect_in_launch(record: Record, arm: Case, other: Case, column: str | None = None) -> float | str:
    """Return the log-effect of the first metric that was measured, above 0 where the arm is slower; else why there is none.

    Args:
        record: of the launch.
        arm: an arm.
        other: what it is compared with.
        column: what is compared; None: what the launch measured.
    """
    anchor, first = record.unit.comparison.arms[0], next((outcome.metric for outcome in record.outcomes), None)
    found = {outcome.case: outcome for outcome in record.outcomes if outcome.metric == first}
    for side in (arm, other, anchor):
        outcome = found.get(side.id)
        if outcome is None:
            return f"{side.arm}: it left no times"
        if outcome.status != "ok":
            return f"{side.arm}: {outcome.kind or outcome.status}: {outcome.reason}"
    base = None if other == anchor else found[other.id].samples
    samples = found[arm.id].samples, base, found[anchor.id].samples
    launch = effects.pair_in_launch(*samples, column or record.unit.facts.column)
    return f"{arm.arm} and {other.arm} share no block" if launch is None else launch.effect
