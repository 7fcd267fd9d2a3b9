"""`gate --paired`: is the second side slower than the margin allows? Asked look by look, over blocks that hold both sides.

Two revisions are judged by the blocks of `compare --paired`, two builds of a model by launches that time both. The clock is
chosen by what was disturbed, before any change is looked at. What else decides, such as a case that fails now, is as between
stored runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from modbench.harness.core.labels import Label
from modbench.harness.stats import effects, gate_looks, paired, verdicts
from modbench.harness.stats.gate_looks import Looked
from modbench.harness.stats.reason import Reason
from modbench.harness.stats.verdicts import Clock, Disturbed, Estimates
from modbench.reports import reasons
from modbench.reports.model import Estimate, Sentence, Value
from modbench.reports.questions import revisions
from modbench.reports.questions.gate.fail_on import CPU, FailOn
from modbench.reports.questions.gate.gate import Blocks, Gate, unfit
from modbench.reports.questions.gate.non_inferiority import Change, GateFinding, ratio
from modbench.reports.questions.revisions import Row
from modbench.reports.tables import provenance
from modbench.reports.tables.outcomes import Tables
from modbench.reports.tables.pair_verdicts import APART

RATIO = "time of the first side ÷ that of the second"
# What is said of a case that one side lacks, by that side.
LACKING = {"first": "not compared", "base": "not compared", "second": "cannot tell", "fails": "worse"}
BASE_FAILS = "the first side fails: {reason}"


@dataclass(frozen=True)
class _Candidate:
    """A case that both sides timed.

    Attributes:
        finding: not yet judged; with a verdict where its number, whatever it is, decides nothing.
        values: the effects of the blocks by the clock that decides, above 0 where the second side is faster.
        same: of the first side against itself; empty where that was not timed.
    """

    finding: GateFinding
    values: list[float]
    same: list[float]


def look(
    blocks: Sequence[Sequence[Tables]],
    prepared: Sequence[Tables],
    sides: tuple[str, ...],
    fail_on: FailOn,
    looks: Sequence[int],
    total: int,
) -> Gate:
    """Judge the blocks so far.

    Args:
        blocks: the tables of every block: first side, second side, first side again; of two builds one.
        prepared: those of the runs that prepared the first and the second side; of two builds one.
        sides: the two sides in words.
        fail_on: the one check, `slower` or `cpu`, with its limit.
        looks: the number of blocks at every look until now, this one included; empty: there are too few to look at.
        total: blocks that were planned.
    """
    ((check, limit),) = fail_on.limits.items()
    margin = float(limit or 0)
    edge = math.log1p(margin)
    read = _builds if len(blocks[0]) == 1 else _revisions
    candidates = list(read(blocks, prepared, margin, by_cpu=check == CPU))
    timed = [each for each in candidates if isinstance(each, _Candidate)]
    looked = gate_looks.look([each.values for each in timed], [edge] * len(timed), looks, total) if looks else []
    few = f"an interval needs {gate_looks.FEWEST} blocks"
    judged = (
        [_judged(*each, edge) for each in zip(timed, looked, _fooled(timed, margin), strict=True)]
        if looks
        else [_too_few(each.finding, few) for each in timed]
    )
    sound = [each for each, one in zip(looked, judged, strict=False) if one.judged_by is not None]
    open_ = any(each.verdict == "cannot tell" and each.judged_by is not None for each in judged)
    needed = gate_looks.blocks_needed(sound, [edge] * len(sound)) if open_ else None
    left = iter(judged)
    findings = [replace(each if isinstance(each, GateFinding) else next(left), check=check) for each in candidates]
    first = blocks[0][0].run
    no_times = next(filter(None, (unfit(first.path, known) for known in provenance.certificates(first))), None)
    if no_times:
        kept = ((each, each.judged_by is None) for each in findings)
        findings = [each if keep else replace(each, verdict="cannot tell", judged_by=None) for each, keep in kept]
    why = [each.reason for each in findings]
    decidable = [each.verdict for each, one in zip(judged, timed, strict=True) if not one.finding.verdict]
    return Gate(
        findings,
        margin,
        unfit=no_times,
        base_fails=next((each for each in why if isinstance(each, Sentence) and each.words == BASE_FAILS), None),
        fail_on=fail_on,
        blocks=Blocks(sides, len(blocks), total, len(decidable), decidable.count("cannot tell"), needed),
    )


def fails(why: str, fail_on: FailOn) -> Gate:
    """The result where the second side does not even run."""
    ((check, limit),) = fail_on.limits.items()
    said = Sentence("fails now: {why}", why=why)
    finding = GateFinding("the second side", metric="run", check=check, verdict="worse", reason=said)
    return Gate([finding], float(limit or 0), fail_on=fail_on)


def _too_few(finding: GateFinding, why: str) -> GateFinding:
    """A case before the first look; where no number would decide, that is why."""
    return finding if finding.verdict else replace(finding, verdict="cannot tell", reason=why)


def _judged(candidate: _Candidate, looked: Looked, fooled: Value, edge: float) -> GateFinding:
    finding = candidate.finding
    typical = ratio(*map(math.exp, (looked.value, looked.low, looked.high)))
    if finding.verdict or fooled:
        return replace(finding, typical=typical, verdict="cannot tell", reason=fooled or finding.reason)
    if looked.serial is not None:
        words = "blocks that follow one another are alike (correlation {r}): the machine changes slowly, and the interval is "
        why = Sentence(words + "too narrow", r=Estimate(looked.serial, kind="setting"))
        return replace(finding, typical=typical, verdict="cannot tell", reason=why)
    change = Change(looked.value, looked.error, looked.n - 1, edge, edge)
    return replace(finding, typical=typical, judged_by=change, verdict=looked.word)


def _fooled(timed: Sequence[_Candidate], margin: float) -> list[Sentence | None]:
    """Of each case why this machine cannot tell the sides apart: the first side came out different from itself."""
    twins = {i: effects.over_launches(each.same) for i, each in enumerate(timed) if each.same}
    p = effects.adjusted({i: twin.p for i, twin in twins.items() if twin.p is not None})
    said = {
        i: Sentence(
            "the first side came out {ratio} itself: the machine is too uneven now", ratio=ratio(math.exp(twin.value))
        )
        for i, twin in twins.items()
        if verdicts.judge(Estimates(twin, p=p.get(i)), margin).word in APART
    }
    return [said.get(i) for i in range(len(timed))]


def _revisions(
    blocks: Sequence[Sequence[Tables]], prepared: Sequence[Tables], margin: float, *, by_cpu: bool
) -> Iterator[GateFinding | _Candidate]:
    """The cases of two revisions."""
    for row in revisions.timed(blocks, prepared):
        if isinstance(row, Row):
            yield _without_number(row)
            continue
        finding = _begun(row.row, row.evidence, row.withheld, margin, by_cpu=by_cpu)
        made = row.cpu if finding.by_cpu and row.cpu is not None else row.wall
        yield _candidate(finding, [each.effect for each in made], [each.same for each in made])


def _builds(
    blocks: Sequence[Sequence[Tables]], prepared: Sequence[Tables], margin: float, *, by_cpu: bool
) -> Iterator[GateFinding | _Candidate]:
    """The cases of the second of two builds, which one process times beside the first."""
    every, (checked,) = [block[0] for block in blocks], prepared
    tables = every[0]
    for comparison, metric, case in tables.asked():
        anchor = comparison.arms[0]
        if case is anchor or metric.source or not tables.made_in(metric).times:
            continue
        first, second = (
            next(filter(None, (revisions.trouble(each, arm, metric) for each in every)), None) for arm in (anchor, case)
        )
        if first or second:
            yield _without_number(revisions.lost(case, metric.key, first, second))
            continue
        launches = [launch for each in every for launch in each.launches(metric, case, anchor, anchor)]
        column, one_thread = tables.made_in(metric).column, case.place.one_thread
        means = metric.estimand == "mean"
        pair = paired.compare(launches, column=column, one_thread=one_thread, averaged=means, estimand=metric.estimand)
        theirs, mine = (revisions.checks(every, checked, each.id, metric) for each in (anchor, case))
        row = Row(case, metric=metric.key, labels=tuple(mine), against_labels=tuple(theirs))
        evidence = pair.evidence._replace(unfit=revisions.escaped(theirs, mine) or pair.unfit)
        finding = _begun(row, evidence, revisions.not_its_work(theirs, mine, metric), margin, by_cpu=by_cpu)
        clock = "cpu_s" if finding.by_cpu else column
        yield _candidate(finding, paired.launch_effects(launches, clock, metric.estimand), [])


def _begun(row: Row, evidence: Disturbed, withheld: Sentence | None, margin: float, *, by_cpu: bool) -> GateFinding:
    """Return a finding to be judged by the clock of the check, or by the one that decides.

    Its verdict is `cannot tell` where no verdict may rest on that clock, or on any (`withheld`).
    """
    found = GateFinding(
        row.case.id, metric=row.metric, reason=RATIO, labels=row.labels, against_labels=row.against_labels
    )
    if withheld is not None:
        return replace(found, verdict="cannot tell", reason=withheld, withheld=True)
    clock = verdicts.clock(margin, evidence)
    if by_cpu and evidence.unfit is not None:
        clock = Clock(noisy=True, reason=Reason("cpu_does_not_count", why=evidence.unfit))
    elif by_cpu:
        clock = Clock(by_cpu=True)
    if clock.noisy:
        return replace(found, verdict="cannot tell", reason=reasons.sentence(clock.reason))
    if not clock.by_cpu:
        return found
    why: Value = str(Label.BY_CPU) if clock.reason is None else reasons.sentence(clock.reason)
    return replace(found, reason=Sentence(f"{RATIO}, {{why}}", why=why), by_cpu=True)


def _candidate(finding: GateFinding, values: list[float], same: list[float]) -> GateFinding | _Candidate:
    """A case whose number is shown; where it was disturbed and no other clock counts, there is none."""
    return finding if finding.verdict and not finding.withheld else _Candidate(finding, values, same)


def _without_number(row: Row) -> GateFinding:
    word = LACKING[row.lacking] if row.lacking else "cannot tell"
    words = {"fails": "fails now: {reason}", "base": BASE_FAILS}.get(row.lacking or "")
    said = Sentence(words, reason=row.reason) if words else row.reason
    return GateFinding(row.case.id, metric=row.metric, verdict=word, reason=said)
