"""One arm against another in a single launch, as its record shows it."""

from __future__ import annotations

from modbench.harness.domain.case import Case
from modbench.harness.domain.records import Record
from modbench.harness.stats import paired
from modbench.harness.stats.paired import LaunchSamples


def samples_in_launch(record: Record, arm: Case, other: Case) -> LaunchSamples | str:
    """Return the samples of the first metric that was measured; else why there are none.

    Args:
        record: of the launch.
        arm: an arm.
        other: what it is compared with.
    """
    anchor, first = record.unit.comparison.arms[0], next((outcome.metric for outcome in record.outcomes), None)
    found = {outcome.case: outcome for outcome in record.outcomes if outcome.metric == first}
    for side in (arm, other, anchor):
        outcome = found.get(side.id)
        if outcome is None:
            return f"{side.arm}: it left no times"
        if outcome.status != "ok":
            return f"{side.arm}: {outcome.kind or outcome.status}: {outcome.reason}"
    blocks = next((each.columns for each in record.blocks), {})
    base = None if other == anchor else found[other.id].samples
    return LaunchSamples(found[arm.id].samples, base, found[anchor.id].samples, blocks)


def effect_in_launch(record: Record, arm: Case, other: Case) -> float | str:
    """Return the log-effect of the first metric that was measured, above 0 where the arm is slower; else why there is none."""
    made = samples_in_launch(record, arm, other)
    if isinstance(made, str):
        return made
    pair = paired.numbers([made], column=record.unit.facts.column, one_thread=False, averaged=False)
    return next((-effect for effect in pair.effects()), f"{arm.arm} and {other.arm} share no block")
