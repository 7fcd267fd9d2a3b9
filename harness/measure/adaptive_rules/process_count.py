"""Computes the number of processes of each comparison, once, from a pilot (`stats/power.py`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modbench.harness.core.errors import UsageError
from modbench.harness.domain.case import Case, Job
from modbench.harness.domain.evidence import ProcessCount
from modbench.harness.domain.records import Record
from modbench.harness.planning.adaptive import AdaptiveRule, Decision
from modbench.harness.stats import paired, power
from modbench.harness.stats.paired import ProcessSamples
from modbench.harness.stats.verdicts import Rule

if TYPE_CHECKING:
    from modbench.harness.domain.suite import Suite


class ProcessCountRule(AdaptiveRule[ProcessCount]):
    """Asks for the processes after the pilot. A number that was computed stands, whatever is measured again."""

    found = ProcessCount

    def groups(self, suite: Suite, jobs: Sequence[Job]) -> dict[str, list[Job]]:
        """Return the processes of each series."""
        found: dict[str, list[Job]] = {}
        for job in jobs if suite.two_stage else ():
            if job.series:
                found.setdefault(job.series, []).append(job)
        # Where something cannot be measured, there is one process, which says so.
        return {series: processes for series, processes in found.items() if len(processes) > 1}

    def is_conditional(self, suite: Suite, job: Job) -> bool:
        """Whether the process is none of the pilot."""
        return job.process >= suite.protocol_size[0]

    def check(self, suite: Suite, jobs: Sequence[Job], select: str | None) -> None:  # noqa: ARG002  # as every rule
        """Check that a pilot decides the number of processes."""
        if not (suite.two_stage and any(not job.rule for job in jobs)):
            raise UsageError(f"{suite.name}: no pilot decides its number of processes.")

    def stands(self, found: ProcessCount) -> bool:
        """Whether there is a number: a pilot without times asks again."""
        return found.asked is not None

    def decide(self, suite: Suite, jobs: Sequence[Job], records: Mapping[str, Record]) -> Decision:
        """Compute the number of processes from the records of the pilot.

        A process that failed has no times and is left out. So is a variant that failed in some process: it has no number in
        the report either. With fewer processes than `power.FEWEST_OF_PILOT`, there are no processes besides those of the
        pilot.
        """
        detectable, (pilot, _) = suite.wanted_detectable, suite.protocol_size
        assert detectable is not None
        variants = _effects(list(records.values()), suite.margin)
        used = max(map(len, variants), default=0)
        variants = [values for values in variants if len(values) == used]
        told: dict[str, Any] = {
            "pilot": pilot,
            "detectable": detectable,
            "most": suite.processes_limit,
            "used": used,
            "variants": len(variants),
        }
        if used < power.FEWEST_OF_PILOT:
            reason = f"{used} of {pilot} processes of the pilot have times of two variants: too few to compute a number"
            found = ProcessCount(sd=None, asked=None, made=pilot, reason=reason, **told)
        else:
            sd = power.spread(variants)
            number = power.fewest(power.above_0, math.log1p(detectable), sd) or power.MOST
            made = max(pilot, min(number, suite.processes_limit))
            found = ProcessCount(sd=sd, asked=number, made=made, **told)
        asked = [job.name for job in jobs if pilot <= job.process < found.made]
        why = f"{found.made} processes"
        why += f" of {found.asked_in_words} asked for" * found.capped + (f": {found.reason}" if found.reason else "")
        return Decision(asked, ended=True, why=why, found=found)


def _effects(records: Sequence[Record], margin: float) -> list[list[float]]:
    """Log-effects of every variant against the baseline, process by process, by the clock that would decide.

    Nothing is claimed about an A/A control, so it has none.
    """
    found = list[list[float]]()
    variants = {
        case.id: case for record in records for case in record.job.comparison.variants[1:] if not case.aa_control
    }
    for variant in variants.values():
        made = (samples_in_process(each, variant, each.job.comparison.variants[0]) for each in records)
        processes = [each for each in made if isinstance(each, ProcessSamples)]
        if processes:
            column, one_thread = records[0].job.facts.column, variant.grid_point.one_thread
            pair = paired.numbers(processes, column=column, one_thread=one_thread, averaged=False)
            found.append(pair.effects(by_cpu=pair.contrast(Rule("time", margin)).by_cpu))
    return found


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


RULE = ProcessCountRule()
