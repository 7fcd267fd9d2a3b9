"""Compares a run with an earlier one, as a gate in CI: is it shown that nothing got worse?

Counts, bytes, losses and accuracies are judged. Times are printed as ratios to the anchor of their own run and have no verdict:
the processes of two runs took no turns. Below the comparison stands what is said of it: its verdict, what changed or cannot be
told, what each check found, and what would decide the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from modbench.harness.core.errors import UsageError
from modbench.harness.core.labels import Label
from modbench.reports.model import Code, Estimate, Listed, Sentence, Table, Value
from modbench.reports.questions.gate import non_inferiority
from modbench.reports.questions.gate.comparer import Comparer
from modbench.reports.questions.gate.fail_on import NOTHING as NOTHING_COMPARED
from modbench.reports.questions.gate.fail_on import Checked, FailOn, Rules, checked
from modbench.reports.questions.gate.non_inferiority import LABELS, NOT_ALTERNATED, GateFinding
from modbench.reports.tables import rerun_command
from modbench.reports.tables.load import Loaded
from modbench.reports.writers.text import alike


@dataclass(frozen=True)
class Gate:
    """What a gate found.

    Attributes:
        findings: one for every case and metric of either run.
        margin: the largest change that does not matter, as a share.
        suite: the suite of the new run, as its command named it.
        incomplete: why a run lacks something; None: neither does.
        said: what else must be known.
        fail_on: the checks that `--fail-on` named; None: all findings count.
    """

    findings: list[GateFinding]
    margin: float
    suite: str = "SUITE"
    incomplete: str | None = None
    said: tuple[Value, ...] = ()
    fail_on: FailOn | None = None

    @cached_property
    def rules(self) -> Rules:
        """By which limits it was judged."""
        return Rules(self.margin, self.fail_on)

    def counts(self, finding: GateFinding) -> bool:
        """Whether the gate can fail on a finding: of several checks, only on those that were named."""
        return self.rules.named(finding.check)

    @property
    def counted(self) -> list[GateFinding]:
        """The findings that the gate can fail on."""
        return [finding for finding in self.findings if self.counts(finding)]

    @cached_property
    def tiers(self) -> tuple[Checked, ...]:
        """What each check found; empty where none was named."""
        return () if self.fail_on is None else checked(self.findings, self.fail_on)

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
        """`worse`, `incomplete`, `cannot tell` or `pass`, the first that holds."""
        words = {finding.verdict for finding in self.counted} | {each.verdict for each in self.tiers if each.named}
        if "worse" in words:
            return "worse"
        if self.incomplete:
            return "incomplete"
        return "cannot tell" if "cannot tell" in words or not self.compared else "pass"

    def exit_code(self, *, lenient: bool = False) -> int:
        """Return 0, 1 (worse), 4 (incomplete) or 5 (cannot tell).

        Args:
            lenient: return 0 instead of 5 where evidence does not decide; not where there is none.
        """
        code = {"worse": 1, "incomplete": 4, "cannot tell": 5, "pass": 0}[self.verdict]
        excused = lenient and self.compared and not self.empty
        return 0 if code == 5 and excused else code

    def as_dict(self, *, lenient: bool = False) -> dict[str, Any]:
        """Return data for `--json`."""
        told = {name: getattr(self, name) for name in ("verdict", "compared", "margin", "incomplete", "said")}
        findings = [finding.as_dict() for finding in self.findings]
        told |= {"exit_code": self.exit_code(lenient=lenient)}
        if self.fail_on is not None:
            told |= {"fail_on": self.fail_on.written, "tiers": [each.as_dict() for each in self.tiers]}
            for data, finding in zip(findings, self.findings, strict=True):
                data |= {"check": finding.check, "counts": self.counts(finding)}
        return told | {"findings": findings}


def gate(run: Loaded, base: Loaded, margin: float | None = None, fail_on: FailOn | None = None) -> Gate:
    """Compare every case and metric of two runs.

    Args:
        run: the new one.
        base: the old one.
        margin: the largest change that does not matter, as a share; None: the suites', the smaller if they differ.
        fail_on: the checks that count, with limits of their own; None: every finding counts.

    Raises:
        UsageError: if the two have no case in common.
    """
    now, then = run.tables, base.tables
    if not {*now.plan.cases} & {*then.plan.cases}:
        raise UsageError("the two runs have no case in common: a gate compares the same suite at two commits.")
    margins = [tables.suite.margin for tables in (now, then)]
    chosen = min(margins) if margin is None else margin
    rules = Rules(chosen, fail_on)
    findings = [*Comparer(now, then, rules).findings()]
    # Checks that are not named take no evidence from those that are.
    for wanted in (True, False):
        places = [i for i, each in enumerate(findings) if rules.named(each.check) is wanted]
        judged = non_inferiority.judge([findings[i] for i in places])
        for i, finding in zip(places, judged, strict=True):
            findings[i] = finding
    said = list[Value]()
    if margin is None and fail_on is None and margins[0] != margins[1]:
        words = "margins differ ({now} now, {before} before): the smaller is used"
        share, earlier = (Estimate(each, kind="share") for each in margins)
        said.append(Sentence(words, now=share, before=earlier))
    lacking = next(filter(None, (tables.run.incomplete for tables in (now, then))), None)
    suite = rerun_command.suite_of(run.run)
    return Gate(findings, chosen, suite, incomplete=lacking, said=tuple(said), fail_on=fail_on)


# Reasons why there is no verdict that are named: all, and in short.
MOST_REASONS, FEW_REASONS = 8, 3
NOTHING = "nothing was compared, so this gate shows nothing"
WORDS = ("worse", "cannot tell", "better", "pass", NOT_ALTERNATED, "not compared")
# Rows of a table, and what has all of them.
MOST_ROWS, FILE = 200, "modbench gate … --json"


def headline(found: Gate, *, every: bool = False) -> Sentence:
    """Return the verdict, and what led to it."""
    return Sentence("gate: {verdict}: {judged}", verdict=found.verdict, judged=judged_by(found, every=every))


def judged_by(found: Gate, *, every: bool = True) -> Sentence:
    """Return the number of findings by verdict, by which limits they were judged, and, if `every`, how changes are to be read."""
    by = Sentence("margin {margin}", margin=Estimate(found.margin, kind="share"))
    told = [each for each in found.findings if each.typical.value is not None and each.verdict != "pass"]
    level = next((each.typical.level for each in told if each.typical.low is not None), None) if every else None
    return Sentence(
        "{counts} ({by}{read}{intervals})",
        counts=numbers(Counter(each.verdict or "" for each in found.counted)) or "nothing to compare",
        by=by if found.fail_on is None else Sentence("--fail-on {checks}", checks=found.fail_on.written),
        read="; above 1 is better" if told else "",
        intervals=Sentence(", {level} intervals", level=Estimate(level, kind="share")) if level else "",
    )


def numbers(counts: Mapping[str, int]) -> Listed | None:
    """Return numbers of findings by verdict: `1 worse, 3 pass`; None for none."""
    known = [Sentence("{n} {word}", n=counts[word], word=word) for word in WORDS if counts.get(word)]
    return Listed(known) if known else None


def remarks(found: Gate) -> Iterator[Sentence]:
    """Say that nothing was compared, of all, or of a check and why."""
    for check in found.empty:
        why = Sentence(": {why}", why=check.reason) if check.reason and check.reason != NOTHING_COMPARED else ""
        yield Sentence("{check}: {nothing} about it{why}", check=check.written, nothing=NOTHING, why=why)
    if not found.compared and not found.empty:
        yield Sentence(NOTHING)


def metric_of(finding: GateFinding) -> str:
    """Return the metric of a finding, and that CPU time is judged where it is."""
    return f"{finding.metric} {Label.BY_CPU}" if finding.by_cpu else finding.metric


def changed(found: Gate, *, every: bool = False) -> Iterator[Sentence]:
    """Say what changed or cannot be told: for each metric and verdict the worst case and how many there are; or every case."""
    told = [
        each
        for each in found.findings
        if each.verdict in {"worse", "better", NOT_ALTERNATED}
        or (each.verdict == "cannot tell" and each.typical.value is not None)
    ]
    parts = [{*_parts(each.what)} for each in told]
    shared = {part for part in set.intersection(*parts) if not part.startswith("T")} if parts else set[str]()
    groups = alike((_what_changed(each, every=every), each) for each in told)
    for those in sorted(groups, key=lambda those: (those[0].verdict == NOT_ALTERNATED, not found.counts(those[0]))):
        if those[0].verdict == "better" and not every:  # counted in the first line
            continue
        worst = min(those, key=_goodness)
        few = "{n}, such as " if worst.typical.value is None else "{n}, worst "
        yield Sentence(
            "{verdict} {metric}: {how}{case} {change}{more}{only}",
            verdict=worst.verdict,
            metric=metric_of(worst),
            how=Sentence(few, n=len(those)) if len(those) > 1 else "",
            case=worst.what if every else _brief(worst.what, shared),
            change=change(worst),
            more=more(worst),
            only=_reported_only(found, worst),
        )


def _reported_only(found: Gate, finding: GateFinding) -> str:
    """Say of a verdict that the gate does not fail on it."""
    return "" if found.counts(finding) or finding.verdict == NOT_ALTERNATED else " (reported only)"


def _what_changed(finding: GateFinding, *, every: bool) -> Listed:
    """What is said once, or of every case: the verdict, the metric, and where there is no number why."""
    why = finding.reason if finding.typical.value is None else ""
    return Listed([finding.verdict, metric_of(finding), why, finding.what * every, finding.check], "\n")


def _goodness(finding: GateFinding) -> float:
    """A number that is higher the better a change is; of what cannot be told, the better what its interval reaches."""
    open_ = finding.verdict == "cannot tell"
    if finding.judged_by is None:
        return finding.typical.value or 0.0
    return finding.judged_by.ends[0] if open_ else finding.judged_by.value


def _parts(case: str) -> list[str]:
    """The parts of a case's id between its brackets: `T512`, `B1`, `fp32`."""
    return case.partition("[")[2].removesuffix("]").split("-")


def _brief(case: str, shared: set[str]) -> str:
    """Return a case's id without the parts that all cases share: `mod[c0.125-T512]`."""
    parts = [part for part in _parts(case) if part not in shared]
    return case.partition("[")[0] + (f"[{'-'.join(parts)}]" if parts else "")


def change(finding: GateFinding) -> Value:
    """Return how a metric changed; the reason where there is no number."""
    return finding.reason if finding.typical.value is None else finding.typical


def more(finding: GateFinding) -> Value:
    """Return whatever must be said beside a change; nothing for none."""
    if (
        finding.reason
        and finding.typical.value is not None
        and finding.verdict == "cannot tell"
        and finding.judged_by is None
    ):
        return Sentence("; {reason}", reason=finding.reason)
    return ""


def checks(found: Gate, *, every: bool = False) -> Iterator[Sentence]:
    """Say what the named checks found, then the others; in one sentence, or with a sentence and the reason for each named one."""
    told = dict[bool, list[Sentence]]()
    for each in found.tiers:
        counts, verdict = numbers(each.counts), Sentence(" {verdict}", verdict=each.verdict) if each.named else ""
        why = Sentence(": {why}", why=each.reason) if each.reason and every else ""
        given: dict[str, Value] = {"check": each.written, "verdict": verdict, "why": why}
        given["counts"] = Sentence(" ({counts})", counts=counts) if counts else ""
        told.setdefault(each.named, []).append(Sentence("{check}{verdict}{counts}{why}", **given))
    if True in told:
        yield from told[True] if every else [Sentence("{checks}", checks=Listed(told[True], "; "))]
    if False in told:
        yield Sentence("not in --fail-on: {checks}", checks=Listed(told[False], "; "))


def without_verdict(found: Gate, *, every: bool = False) -> Iterator[Sentence]:
    """Say why findings without a number have no verdict: each reason once, with the number of its findings.

    In short without what fails nothing, and without reasons that `remarks` gives.
    """
    most, said = MOST_REASONS if every else FEW_REASONS, {check.reason for check in found.empty}
    for word in ("cannot tell", "not compared"):
        silent = [each for each in found.findings if each.verdict == word]
        silent = [each for each in silent if word == "not compared" or each.typical.value is None]
        for only, counts in (("", True), (" (reported only)", False))[: 2 if every else 1]:
            groups = by_reason([each for each in silent if found.counts(each) == counts])
            groups = [those for those in groups if every or those[0].reason not in said]
            for those in groups[:most]:
                yield _group(f"{word}{only}", those, every=every)
            if len(groups) > most:
                yield Sentence("and {n} more reasons: -v, or --json", n=len(groups) - most)


def _group(word: str, those: Sequence[GateFinding], *, every: bool) -> Sentence:
    first = those[0]
    if len(those) > 1 and not every:
        return Sentence("{n} {word}: {reason}", n=len(those), word=word, reason=first.reason)
    known = sorted(each.typical.value for each in those if each.typical.value is not None)
    ends = replace(first.typical, value=None, low=known[0], high=known[-1]) if known else None
    return Sentence(
        "{word}: {case} {metric}{others}: {changes}{reason}",
        word=word,
        case=first.what,
        metric=metric_of(first),
        others=Sentence(" and {n} more", n=len(those) - 1) if len(those) > 1 else "",
        changes=Sentence("{ends}: ", ends=ends) if ends else "",
        reason=first.reason,
    )


def by_reason(findings: Sequence[GateFinding]) -> list[list[GateFinding]]:
    """Return findings in groups of one reason."""
    return alike((finding.reason, finding) for finding in findings)


def advice(found: Gate) -> Iterator[Sentence]:
    """Say what would judge times, where the gate has some without a verdict."""
    if any(each.verdict == NOT_ALTERNATED for each in found.findings):
        command = "modbench ab revisions BASE NEW {suite} --model FILE.py:build --fail-on slower:2%"
        in_turn = Code(Sentence(command, suite=found.suite))
        yield Sentence(
            "times have no verdict, since the runs took no turns; two revisions that do: {in_turn}", in_turn=in_turn
        )


# --- tables


def tables(found: Gate) -> Iterator[Table]:
    """Yield the checks, then a table for each verdict that is not green, for times, and for what has no verdict, by reason."""
    if found.tiers:
        yield Table(
            "checks",
            ("tier", "check", "verdict", "findings", "why"),
            [*map(_check, sorted(found.tiers, key=lambda each: not each.named))],
        )
    for verdict in ("worse", "cannot tell", "better", NOT_ALTERNATED, "not compared"):
        mine = [each for each in found.findings if each.verdict == verdict]
        known = [each for each in mine if _has_number(each)]
        if known:
            known.sort(key=lambda each: not found.counts(each))
            head = ["case", "metric", "change: above 1 is better; of a loss the difference", "why"]
            rows = [_row(found, each) for each in known]
            yield Table(verdict, head, rows, file=FILE).first(MOST_ROWS)
        groups = by_reason([each for each in mine if not _has_number(each)])
        if groups:
            label = f"{verdict}, without a number" if known else verdict
            rows = [(those[0].reason, len(those), Code(f"{those[0].what} {metric_of(those[0])}")) for those in groups]
            head = ["why", "findings", "such as"]
            yield Table(label, head, rows, file=FILE).first(MOST_ROWS)


def _has_number(each: GateFinding) -> bool:
    return each.typical.value is not None and each.verdict != "not compared"


def _check(each: Checked) -> tuple[Value, ...]:
    verdict = each.verdict if each.named else "fails nothing"
    return each.tier, Code(each.written), verdict, numbers(each.counts) or "none", each.reason or ""


def _row(found: Gate, each: GateFinding) -> tuple[Value, ...]:
    beside: Value = more(each) or each.reason or ""
    if isinstance(beside, Sentence):
        beside = Sentence(beside.words.removeprefix("; "), **beside.given)
    why = Sentence("{why}{only}", why=beside, only=_reported_only(found, each))
    return Code(each.what), Code(metric_of(each)), each.typical, why
