"""Holds a new run to limits on what may be worse than in its base, as a gate in CI: is it shown that nothing got worse?

The contrasts are those of `compare BASE NEW`; here each has a limit. It passes where a change for the worse above the limit is
excluded at 5 %: a gate passes only where all do, so that no correction is needed. It fails where one is shown, at 5 % over all
losses (Holm). Times are printed and have no verdict: the processes of two runs took no turns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

from modbench.harness.core.errors import UsageError
from modbench.harness.core.group_by import grouped
from modbench.harness.stats.effects import LEVEL
from modbench.harness.stats.verdicts import FAIL, INCONCLUSIVE, PASS, Limited, limited
from modbench.reports import reasons
from modbench.reports.blocks import Code, Estimate, Finding, Listed, Sentence, Table, Value
from modbench.reports.markup.text import alike
from modbench.reports.questions.gate.fail_on import (
    CHECKS,
    LABELS,
    NEITHER,
    OF_THE_MACHINE,
    SLOWER,
    FailOn,
    Rules,
    check_of,
    written,
)
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.two_runs import NOT_ALTERNATED, NOT_COMPARED, Labels, Pair, TwoRuns

# Its ends exclude what lies beyond them at 5 % each.
LEVEL_OF_BOTH = 2 * LEVEL - 1
NOTHING = "nothing was compared, so this gate shows nothing"
ELSEWHERE = "the runs were made on different machines, or do not say on which: libraries count in this memory too"


@dataclass(frozen=True)
class GateFinding(Finding):
    """How one metric of one case changed, held to its limit.

    Its verdict is `pass`, `fail` or `inconclusive`; `not compared` and `not alternated` count neither for nor against.
    `typical` is the ratio, above 1 better, or the difference of a loss, new minus base, with a 90 % interval.

    Attributes:
        what: case id.
        metric: metric key, or `LABELS`.
        check: the check of `--fail-on` that it belongs to; None: no check judges the metric.
        p: p-value of no change for the worse above the limit, among all of them (Holm); None for counts.
        worst: a number that is lower the worse the change is, or may be.
        wide: whether the width of its interval alone leaves it open.
    """

    what: str
    check: str | None = None
    p: float | None = None
    worst: float = 0.0
    wide: bool = False

    @property
    def compared(self) -> bool:
        """Whether it holds what both runs measured against each other, decided or not."""
        return self.verdict in {PASS, FAIL} or (self.verdict == INCONCLUSIVE and self.typical.value is not None)

    def as_dict(self) -> dict[str, Any]:
        """Return data for `--json`."""
        told: dict[str, Any] = {"case": self.what, "metric": self.metric, "verdict": self.verdict}
        told |= {"change": self.typical.value, "low": self.typical.low, "high": self.typical.high}
        return told | {"p": self.p, "reason": self.reason}


@dataclass(frozen=True)
class Checked:
    """What one check found.

    Attributes:
        word: the check.
        limit: its limit as a share; None if it has none of its own.
        named: whether `--fail-on` names it.
        findings: those that belong to it.
    """

    word: str
    limit: Fraction | None
    named: bool
    findings: Sequence[GateFinding]

    @property
    def written(self) -> Value:
        """The check as it is typed."""
        return written(self.word, self.limit)

    @property
    def compared(self) -> bool:
        """Whether it compared anything: a check that did not never passes."""
        return any(each.compared for each in self.findings)

    @property
    def verdict(self) -> str:
        """`fail`, `inconclusive` or `pass`; of a check that is not named, what it would have been."""
        words = {each.verdict for each in self.findings}
        if FAIL in words:
            return FAIL
        return PASS if PASS in words and INCONCLUSIVE not in words else INCONCLUSIVE

    @property
    def reason(self) -> Value:
        """Why it is inconclusive, where that is one reason; what an interval leaves open has none but its width."""
        if self.verdict != INCONCLUSIVE:
            return None
        left = [each for each in self.findings if each.verdict == INCONCLUSIVE] or self.findings
        told = alike((why, why) for why in (None if each.wide else each.reason for each in left))
        return told[0][0] if len(told) == 1 else None if told else NEITHER

    def as_dict(self) -> dict[str, Any]:
        """Return data for `--json`."""
        limit = None if self.limit is None else float(self.limit)
        counts = Counter(each.verdict or "" for each in self.findings)
        told: dict[str, Any] = {"tier": CHECKS[self.word].tier, "check": self.word, "limit": limit}
        told |= {"named": self.named, "verdict": self.verdict, "counts": counts, "reason": self.reason}
        return told | {"compared": self.compared}


@dataclass(frozen=True)
class Gate:
    """What a gate found.

    Attributes:
        findings: one for every case and metric of either run.
        margin: the largest change that does not matter, as a share.
        incomplete: why a run lacks something; None: neither does.
        fail_on: the checks that `--fail-on` named; None: all findings count.
    """

    findings: list[GateFinding]
    margin: float
    incomplete: str | None = None
    fail_on: FailOn | None = None

    def counts(self, finding: GateFinding) -> bool:
        """Whether the gate can fail on a finding: of several checks, only on those that were named."""
        return self.fail_on is None or finding.check in self.fail_on.limits

    @property
    def counted(self) -> list[GateFinding]:
        """The findings that the gate can fail on."""
        return [finding for finding in self.findings if self.counts(finding)]

    @cached_property
    def tiers(self) -> tuple[Checked, ...]:
        """What every check found that was named, or that has findings."""
        limits = {} if self.fail_on is None else self.fail_on.limits
        found = grouped((each.check, each) for each in self.findings)
        known = [word for word in CHECKS if word in found or word in limits]
        return tuple(Checked(word, limits.get(word), word in limits, found.get(word, [])) for word in known)

    @cached_property
    def compared(self) -> bool:
        """Whether anything was that the gate can fail on; labels are no comparison unless they were asked for."""
        counted = self.counted if self.fail_on else (each for each in self.counted if each.metric != LABELS)
        return any(finding.compared for finding in counted)

    @property
    def empty(self) -> tuple[Checked, ...]:
        """The named checks that compared nothing."""
        return tuple(each for each in self.tiers if each.named and not each.compared)

    @property
    def verdict(self) -> str:
        """`fail`, `incomplete`, `inconclusive` or `pass`, the first that holds."""
        words = {finding.verdict for finding in self.counted} | {each.verdict for each in self.tiers if each.named}
        if FAIL in words:
            return FAIL
        if self.incomplete:
            return "incomplete"
        return INCONCLUSIVE if INCONCLUSIVE in words or not self.compared else PASS

    def exit_code(self, *, allow_inconclusive: bool = False) -> int:
        """Return 0, 1 (fail), 4 (incomplete) or 5 (inconclusive).

        Args:
            allow_inconclusive: return 0 instead of 5 where evidence does not decide; not where there is none.
        """
        code = {FAIL: 1, "incomplete": 4, INCONCLUSIVE: 5, PASS: 0}[self.verdict]
        excused = allow_inconclusive and self.compared and not self.empty
        return 0 if code == 5 and excused else code

    def as_dict(self, *, allow_inconclusive: bool = False) -> dict[str, Any]:
        """Return data for `--json`."""
        told = {name: getattr(self, name) for name in ("verdict", "compared", "margin", "incomplete")}
        findings = [finding.as_dict() for finding in self.findings]
        told |= {"exit_code": self.exit_code(allow_inconclusive=allow_inconclusive)}
        if self.fail_on is not None:
            told |= {"fail_on": self.fail_on.written, "tiers": [each.as_dict() for each in self.tiers]}
            for data, finding in zip(findings, self.findings, strict=True):
                data |= {"check": finding.check, "counts": self.counts(finding)}
        return told | {"findings": findings}


def gate(base: Loaded, new: Loaded, margin: float | None = None, fail_on: FailOn | None = None) -> Gate:
    """Hold every case and metric of a new run to its base.

    Args:
        base: the run that the new one is compared with.
        new: the new run.
        margin: the largest change that does not matter, as a share; None: the suites', the smaller if they differ.
        fail_on: the checks that count, with limits of their own; None: every finding counts.

    Raises:
        UsageError: if the two have no case in common.
    """
    if not {*base.tables.plan.cases} & {*new.tables.plan.cases}:
        raise UsageError("the two runs have no case in common: a gate compares the same suite at two commits.")
    chosen = min(run.suite.margin for run in (base, new)) if margin is None else margin
    runs, rules = TwoRuns(base.tables, new.tables, chosen), Rules(chosen, fail_on)
    findings = [*_numbers(runs, rules), *map(_of_labels, runs.labels())]
    lacking = next(filter(None, (run.run.incomplete for run in (new, base))), None)
    return Gate(findings, chosen, lacking, fail_on)


def _numbers(runs: TwoRuns, rules: Rules) -> list[GateFinding]:
    """The findings on numbers. Checks that are not named take no evidence from those that are."""
    pairs = runs.pairs()
    held = dict[int, Limited]()
    for named in (True, False):
        mine = {
            i: (pair.contrast, pair.scale, *rules.limits(check_of(pair.metric)))
            for i, pair in enumerate(pairs)
            if pair.contrast is not None and not pair.is_time and rules.named(check_of(pair.metric)) is named
        }
        limits = [limit if each.counts else float(limit) * scale for each, scale, limit, _ in mine.values()]
        beyond = [float(fails) * scale for _, scale, _, fails in mine.values()]
        held |= zip(mine, limited([each for each, *_ in mine.values()], limits, beyond), strict=True)
    elsewhere = OF_THE_MACHINE if rules.fail_on is not None and not runs.same_machine else frozenset[str]()
    return [_finding(pair, held.get(i), elsewhere=pair.metric.key in elsewhere) for i, pair in enumerate(pairs)]


def _finding(pair: Pair, held: Limited | None, *, elsewhere: bool) -> GateFinding:
    found = GateFinding(pair.case.id, metric=pair.metric.key, reason=pair.reason, check=check_of(pair.metric))
    if pair.contrast is None:
        return replace(found, verdict=pair.lack and pair.lack.held)
    effect, seen = pair.contrast.effect, pair.contrast.seen
    if pair.is_difference and pair.metric.better == "lower":
        effect = effect.mirrored()
    found = replace(found, typical=pair.change(LEVEL_OF_BOTH), worst=effect.value)
    if held is None:
        return replace(found, verdict=NOT_ALTERNATED)
    if elsewhere:
        return replace(found, verdict=INCONCLUSIVE, typical=Estimate(None), reason=ELSEWHERE)
    unsure, why = seen.unsure or (frozenset[str](), seen.withheld)
    if seen.withheld is not None or held.word in unsure:
        return replace(found, verdict=INCONCLUSIVE, reason=reasons.sentence(why))
    wide = held.word == INCONCLUSIVE and held.reason is None
    worst = effect.low90 if wide and effect.low90 is not None else effect.value
    why_open = pair.reason or reasons.sentence(held.reason)
    return replace(found, verdict=held.word, p=held.p, reason=why_open, worst=worst, wide=wide)


def _of_labels(labels: Labels) -> GateFinding:
    found = GateFinding(labels.case, metric=LABELS, check=LABELS)
    if labels.lack is not None:
        return replace(found, verdict=labels.lack.held, reason=labels.reason)
    if labels.new:
        return replace(found, verdict=FAIL, reason=f"now {', '.join(sorted(labels.new))}")
    return replace(found, verdict=PASS, reason="no label that it had not")


# --- what is said of it

# Verdicts that a line counts, in this order.
WORDS = (PASS, FAIL, INCONCLUSIVE)
# Metrics that a line names; rows of a table, and what has all of them.
MOST_METRICS, MOST_ROWS, FILE = 3, 200, "modbench gate … --json"
UNTIMED = "not judged: the two runs did not alternate (modbench ab revisions …)"


def headline(found: Gate) -> Sentence:
    """Say how many of the checks fail, are inconclusive, or pass."""
    if not found.compared and not found.empty:
        return Sentence("{verdict}: {why}", verdict=found.verdict, why=NOTHING)
    counts = Counter(each.verdict for each in found.counted) + Counter({INCONCLUSIVE: len(found.empty)})
    shown = found.verdict if found.verdict in WORDS else PASS
    words = "{verdict}: {n} of {all:check}" + " passed" * (shown != found.verdict)
    return Sentence(words, verdict=found.verdict, n=counts[shown], all=sum(counts[word] for word in WORDS))


def checks(found: Gate) -> Iterator[tuple[Value, Value]]:
    """Yield each check that was named or did not pass, with what it found; and that times are not judged."""
    for each in found.tiers:
        counts, named = Counter(finding.verdict for finding in each.findings), each.named or found.fail_on is None
        open_ = [finding for finding in each.findings if finding.verdict in {FAIL, INCONCLUSIVE}]
        if not any(counts[word] for word in WORDS):
            if named and (found.fail_on is not None or not found.compared) and each.word != SLOWER:
                yield each.written, Sentence("{word}: {why}", word=INCONCLUSIVE, why=each.reason)
        elif named or open_:
            told: list[Value] = [Sentence("{n} {word}", n=counts[word], word=word) for word in WORDS if counts[word]]
            metrics = Listed([*dict.fromkeys(finding.metric for finding in each.findings)], most=MOST_METRICS)
            words = "{counts}" + " (reported only)" * (not named) + (": {worst}" if open_ else " ({metrics})")
            yield each.written, Sentence(words, counts=Listed(told, " · "), metrics=metrics, worst=_told(open_))
    if any(each.verdict == NOT_ALTERNATED for each in found.findings):
        yield "times", UNTIMED


def _told(open_: Sequence[GateFinding]) -> Value:
    """Say what is worst of what fails, or may."""
    if not open_:
        return None
    worst = min(open_, key=lambda each: (each.verdict != FAIL, each.worst))
    return Sentence(
        "{case}, {metric}: {change}", case=Code(worst.what), metric=Code(worst.metric), change=change(worst)
    )


def table(found: Gate) -> Table:
    """Return every finding, what fails first."""
    order = (FAIL, INCONCLUSIVE, NOT_ALTERNATED, NOT_COMPARED, PASS)
    told = sorted(found.findings, key=lambda each: (order.index(each.verdict or ""), not found.counts(each)))
    rows = [(each.verdict, each.check, Code(each.what), Code(each.metric), change(each)) for each in told]
    return Table("findings", ("verdict", "check", "case", "metric", "change"), rows, file=FILE).first(MOST_ROWS)


def change(found: GateFinding) -> Value:
    """Return how a metric changed, and why there is no number or no verdict."""
    if found.typical.value is None:
        return found.reason
    why = found.reason is not None and found.verdict == INCONCLUSIVE and not found.wide
    return Listed([found.typical, found.reason], "; ") if why else found.typical
