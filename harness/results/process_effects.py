"""One variant against another in a single process, as its record shows it."""

from __future__ import annotations

from modbench.harness.domain.case import Case
from modbench.harness.domain.records import Record
from modbench.harness.stats import paired
from modbench.harness.stats.paired import ProcessSamples


def samples_in_process(record: Record, variant: Case, other: Case) -> ProcessSamples | str:
    """Return the samples of the first metric that was measured; else why there are none.

    Args:
        record: of the process.
        variant: a variant.
        other: what it is compared with.
    """
    anchor, first = record.job.comparison.variants[0], next((outcome.metric for outcome in record.outcomes), None)
    found = {outcome.case: outcome for outcome in record.outcomes if outcome.metric == first}
    for side in (variant, other, anchor):
        outcome = found.get(side.id)
        if outcome is None:
            return f"{side.variant}: it left no times"
        if outcome.status != "ok":
            return f"{side.variant}: {outcome.kind or outcome.status}: {outcome.reason}"
    blocks = next((each.columns for each in record.blocks), {})
    base = None if other == anchor else found[other.id].samples
    return ProcessSamples(found[variant.id].samples, base, found[anchor.id].samples, blocks)


def effect_in_process(record: Record, variant: Case, other: Case) -> float | str:
    """Return the log-effect of the first metric measured, above 0 where the variant is slower; else why there is none."""
    made = samples_in_process(record, variant, other)
    if isinstance(made, str):
        return made
    pair = paired.numbers([made], column=record.job.facts.column, one_thread=False, averaged=False)
    return next((-effect for effect in pair.effects()), f"{variant.variant} and {other.variant} share no block")
