"""Compares a run with an earlier one, as a gate in CI: is it shown that nothing got worse?

Times are compared as ratios to the anchor of their own run, so that a slower machine is not a regression; launches of the two
runs are independent samples. Below the comparison stands what is said of it: its verdict, what changed or cannot be told, what
each check found, and what would decide the rest.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from modbench.harness.core.errors import UsageError
from modbench.harness.core.labels import Label
from modbench.harness.machine.certificate import Certificate
from modbench.harness.stats import gate_looks, time_to_detect
from modbench.harness.stats.time_to_detect import Spread
from modbench.reports.model import Code, Estimate, Listed, Sentence, Table, Value
from modbench.reports.questions.gate import history as earlier_runs
from modbench.reports.questions.gate import non_inferiority
from modbench.reports.questions.gate.comparer import Comparer
from modbench.reports.questions.gate.fail_on import CPU, Checked, FailOn, Rules, checked, written
from modbench.reports.questions.gate.fail_on import NOTHING as NOTHING_COMPARED
from modbench.reports.questions.gate.non_inferiority import LABELS, PASSING, Asked, GateFinding
from modbench.reports.questions.gate.run_spread import RUN_SD
from modbench.reports.tables import rerun_command
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.outcomes import Tables
from modbench.reports.writers.text import alike

UNFIT = "the machine is unfit to compare times"


@dataclass(frozen=True)
class Blocks:
    """The blocks of `gate --paired`.

    Attributes:
        sides: the two sides in words.
        made: how many there are.
        planned: how many there would be without a decision; 0: that was not planned yet.
        timed: cases that both sides timed.
        needed: how many would probably decide what is open; None: nothing is, or over 1,000.
        block_s: seconds that one takes; None where none was made now.
        fixed_s: seconds before the first one.
    """

    sides: tuple[str, ...]
    made: int
    planned: int
    timed: int
    needed: int | None = None
    block_s: float | None = None
    fixed_s: float = 0.0

    @property
    def budget_s(self) -> float | None:
        """Seconds that would probably decide what is open; None: not known."""
        return None if self.needed is None or self.block_s is None else self.fixed_s + self.needed * self.block_s


@dataclass(frozen=True)
class Gate:
    """What a gate found.

    Attributes:
        findings: one for every case and metric of either run.
        margin: the largest change that does not matter, as a share.
        asked: what would let identical code pass.
        effort: effort of the new run.
        rounds: rounds of a launch in the new run.
        suite: the suite of the new run, as its command named it.
        run_sd: standard deviation between runs that was assumed, as a share; None: none was, since earlier runs tell.
        timed: keys of metrics that are sampled in launches: times, and energy.
        unfit: why times of a run cannot be used; None: they can.
        incomplete: why a run lacks something; None: neither does.
        said: what else must be known.
        fail_on: the checks that `--fail-on` named; None: all findings count.
        blocks: the blocks of both sides that it was judged by; None: two stored runs were.
    """

    findings: list[GateFinding]
    margin: float
    asked: Asked
    effort: str
    rounds: int
    suite: str = "SUITE"
    run_sd: float | None = None
    timed: frozenset[str] = frozenset()
    unfit: str | None = None
    incomplete: str | None = None
    said: tuple[Value, ...] = ()
    fail_on: FailOn | None = None
    blocks: Blocks | None = None

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
        return "cannot tell" if self.unfit or "cannot tell" in words or not self.compared else "pass"

    @property
    def too_few(self) -> bool:
        """Whether more launches would decide something."""
        spreads = (c.spread for each in self.counted if each.verdict == "cannot tell" for c in each.changes)
        return any(spread is not None for spread in spreads)

    @property
    def launches(self) -> int | None:
        """The launches in each run that would let identical code pass; None where it can tell, or no number does."""
        return self.asked.launches if self.too_few else None

    def exit_code(self, *, lenient: bool = False) -> int:
        """Return 0, 1 (worse), 4 (incomplete) or 5 (cannot tell).

        Args:
            lenient: return 0 instead of 5 where evidence does not decide; not where there is none, or the machine is unfit.
        """
        code = {"worse": 1, "incomplete": 4, "cannot tell": 5, "pass": 0}[self.verdict]
        excused = lenient and self.compared and not self.empty and not self.unfit
        return 0 if code == 5 and excused else code

    def as_dict(self, *, lenient: bool = False) -> dict[str, Any]:
        """Return data for `--json`."""
        told = {name: getattr(self, name) for name in ("verdict", "compared", "margin", "unfit", "incomplete", "said")}
        findings = [finding.as_dict() for finding in self.findings]
        told |= {"exit_code": self.exit_code(lenient=lenient), "launches": self.launches, "run_sd": self.run_sd}
        told |= {"rounds": self.launches and (self.asked.rounds or self.rounds), "usable": dict(self.asked.usable)}
        if self.blocks is not None:
            told["paired"] = asdict(self.blocks) | {"budget_s": self.blocks.budget_s}
        if self.fail_on is not None:
            told |= {"fail_on": self.fail_on.written, "tiers": [each.as_dict() for each in self.tiers]}
            for data, finding in zip(findings, self.findings, strict=True):
                data |= {"check": finding.check, "counts": self.counts(finding)}
        return told | {"findings": findings}


def gate(
    run: Loaded,
    base: Loaded,
    margin: float | None = None,
    history: Sequence[str] = (),
    fail_on: FailOn | None = None,
    run_sd: float | None = None,
    flag: str = earlier_runs.FLAG,
) -> Gate:
    """Compare every case and metric of two runs.

    Args:
        run: the new one.
        base: the old one.
        margin: the largest change that does not matter, as a share; None: the suites', the smaller if they differ.
        history: more earlier runs of this machine, or folders of them, which tell how much runs differ.
        fail_on: the checks that count, with limits of their own; None: every finding counts.
        run_sd: standard deviation of an arm's ratio between runs of the same code, as a share, where fewer than three earlier
            runs tell; None: `run_spread.RUN_SD`.
        flag: what names earlier runs on the command line.

    Raises:
        UsageError: if the two have no case in common, or a folder of the history is none.
    """
    now, then = run.tables, base.tables
    if not {*now.plan.cases} & {*then.plan.cases}:
        raise UsageError("the two runs have no case in common: a gate compares the same suite at two commits.")
    margins = [tables.suite.margin for tables in (now, then)]
    chosen = min(margins) if margin is None else margin
    rules = Rules(chosen, fail_on)
    past = earlier_runs.history(now, then, history, RUN_SD if run_sd is None else run_sd, flag)
    findings = [*Comparer(now, then, rules, past).findings()]
    named = [rules.named(finding.check) for finding in findings]
    timed = frozenset(
        key for key, metric in now.metrics.items() if now.made_in(metric).samples == "launches" and not metric.source
    )
    of_runs = {change.runs.runs for each in findings for change in each.changes if change.spread is not None}
    assumed = past.run_sd if 0 in of_runs else None
    cost, rounds = launch_cost(now), now.suite.protocol_size[1]
    # Checks that are not named take no evidence from those that are.
    groups = [[i for i, each in enumerate(named) if each is wanted] for wanted in (True, False)]
    asked = Asked()
    no_times, said = None, list[Value](past.said)
    why = next(filter(None, (unfit(loaded.path, loaded.certificate) for loaded in (run, base))), None)
    for wanted, places in zip((True, False), groups, strict=True):
        mine = non_inferiority.judge([findings[i] for i in places])
        # What stands on evidence, or would if there were enough: not on a failure or a new label.
        if why and any((each.changes or each.verdict == "cannot tell") and each.metric in timed for each in mine):
            no_times = why if wanted else no_times
            said += [] if wanted else [why]
            mine = [
                replace(each, verdict="cannot tell", reason=UNFIT, changes=())
                if each.changes and each.metric in timed
                else each
                for each in mine
            ]
        mine, launches = non_inferiority.with_launches(mine, cost, rounds)
        asked = launches if wanted else asked
        for i, finding in zip(places, mine, strict=True):
            findings[i] = finding
    if margin is None and fail_on is None and margins[0] != margins[1]:
        words = "margins differ ({now} now, {before} before): the smaller is used"
        share, earlier = (Estimate(each, kind="share") for each in margins)
        said.insert(0, Sentence(words, now=share, before=earlier))
    if run_sd is not None and of_runs and assumed is None:
        words = "--run-sd {run_sd} is not used: {n} earlier runs tell how much runs differ"
        said.append(Sentence(words, run_sd=Estimate(run_sd, kind="share"), n=max(of_runs)))
    lacking = filter(None, (tables.run.incomplete for tables in (now, then)))
    return Gate(
        findings,
        chosen,
        asked,
        now.suite.effort,
        rounds,
        rerun_command.suite_of(run.run),
        assumed,
        timed,
        no_times,
        next(lacking, None),
        tuple(said),
        fail_on,
    )


def launch_cost(tables: Tables) -> Spread | None:
    """Return the time of one launch of every comparison of a run, and the spreads of an arm's ratio, pooled over its timed cases.

    Returns:
        None where the run has no record of how long its blocks took, or no two launches of a pair.
    """
    costs: dict[str, list[tuple[float, float]]] = {}
    for record in tables.run.records:
        walls_s = [wall for blocks in record.blocks for wall in blocks.columns.get("wall_s", ())]
        if record.unit.facts.samples == "launches" and walls_s:
            cost = time_to_detect.cost(record.wall_s, walls_s, record.unit.protocol.rounds)
            costs.setdefault(f"{record.unit.workload} {record.unit.comparison.label}", []).append(cost)
    start_s, round_s = (sum(fmean(cost[part] for cost in each) for each in costs.values()) for part in (0, 1))
    spreads = []
    for comparison in tables.plan.comparisons if costs else ():
        anchor, *arms = comparison.arms
        for metric in (tables.metrics[key] for key in comparison.metrics):
            if tables.made_in(metric).samples != "launches" or metric.source or tables.anchor_trouble(anchor, metric):
                continue
            for case in arms:
                launches = tables.launches(metric, case, anchor, anchor) if tables.trouble(case, metric) is None else []
                spread = time_to_detect.measured(tables.made_in(metric).column, launches, start_s, round_s)
                spreads += [] if spread is None else [spread]
    if not spreads:
        return None
    between, block = (
        math.sqrt(fmean(getattr(each, name) ** 2 for each in spreads)) for name in ("between_sd", "block_sd")
    )
    return Spread(between, block, start_s, round_s)


def unfit(path: Path, known: Certificate | None) -> str | None:
    """Return why a run's times cannot be used, if its machine calls identical models different too often."""
    if known is None or known.verdict != "unfit":
        return None
    return f"{path}: its times cannot be compared. {known.in_words()}. Run `modbench doctor` for details."


# Checks that a gate of both revisions in one job can answer, one at a time.
PAIRED = ("slower", CPU)
# Reasons why there is no verdict that are named: all, and in short.
MOST_REASONS, FEW_REASONS = 8, 3
NOTHING = "nothing was compared, so this gate shows nothing"
WORDS = ("worse", "cannot tell", "better", "pass", "not compared")
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
        "{counts} ({by}{runs}{read}{intervals})",
        counts=numbers(Counter(each.verdict or "" for each in found.counted)) or "nothing to compare",
        by=by if found.fail_on is None else Sentence("--fail-on {checks}", checks=found.fail_on.written),
        runs=runs_differ(found) or "",
        read="; above 1 is better" if told else "",
        intervals=Sentence(", {level} intervals", level=Estimate(level, kind="share")) if level else "",
    )


def numbers(counts: Mapping[str, int]) -> Listed | None:
    """Return numbers of findings by verdict: `1 worse, 3 pass`; None for none."""
    known = [Sentence("{n} {word}", n=counts[word], word=word) for word in WORDS if counts.get(word)]
    return Listed(known) if known else None


def remarks(found: Gate) -> Iterator[Sentence]:
    """Say that nothing was compared, of all, of a check and why, or of times."""
    timed = [each for each in found.counted if each.metric in found.timed]
    for check in found.empty:
        why = Sentence(": {why}", why=check.reason) if check.reason and check.reason != NOTHING_COMPARED else ""
        yield Sentence("{check}: {nothing} about it{why}", check=check.written, nothing=NOTHING, why=why)
    if not found.compared and not found.empty:
        yield Sentence(NOTHING)
    elif timed and found.compared and not found.empty and not any(each.changes for each in timed):
        yield Sentence("no time was compared")


def metric_of(finding: GateFinding) -> str:
    """Return the metric of a finding, and that CPU time is judged where it is."""
    return f"{finding.metric} {Label.BY_CPU}" if finding.by_cpu else finding.metric


def changed(found: Gate, *, every: bool = False) -> Iterator[Sentence]:
    """Say what changed or cannot be told: for each metric and verdict the worst case and how many there are; or every case."""
    told = [
        each
        for each in found.findings
        if each.verdict in {"worse", "better"} or (each.verdict == "cannot tell" and each.typical.value is not None)
    ]
    parts = [{*_parts(each.what)} for each in told]
    shared = {part for part in set.intersection(*parts) if not part.startswith("T")} if parts else set[str]()
    groups = alike((_what_changed(each, every=every), each) for each in told)
    for those in sorted(groups, key=lambda those: not found.counts(those[0])):
        if those[0].verdict == "better" and not every:  # counted in the first line
            continue
        worst = min(those, key=_goodness)
        few = "{n}, such as " if worst.typical.value is None else "{n}, worst "
        # What would let the whole gate pass is said once.
        once = worst.needed and worst.needed == found.asked.as_made and not every
        yield Sentence(
            "{verdict} {metric}: {how}{case} {change}{more}{only}",
            verdict=worst.verdict,
            metric=metric_of(worst),
            how=Sentence(few, n=len(those)) if len(those) > 1 else "",
            case=worst.what if every else _brief(worst.what, shared),
            change=change(worst) if every else _worse_estimate(worst),
            more="" if once else more(worst),
            only="" if found.counts(worst) else " (reported only)",
        )


def _what_changed(finding: GateFinding, *, every: bool) -> Listed:
    """What is said once, or of every case: the verdict, the metric, and where there is no number why."""
    why = finding.reason if finding.typical.value is None else ""
    return Listed([finding.verdict, metric_of(finding), why, finding.what * every, finding.check], "\n")


def _goodness(finding: GateFinding) -> float:
    """A number that is higher the better a change is; of what cannot be told, the better what its interval reaches."""
    open_ = finding.verdict == "cannot tell"
    return min(
        (each.ends[0] if open_ else each.value for each in finding.changes), default=finding.typical.value or 0.0
    )


def _parts(case: str) -> list[str]:
    """The parts of a case's id between its brackets: `T512`, `B1`, `fp32`."""
    return case.partition("[")[2].removesuffix("]").split("-")


def _brief(case: str, shared: set[str]) -> str:
    """Return a case's id without the parts that all cases share: `mod[c0.125-T512]`."""
    parts = [part for part in _parts(case) if part not in shared]
    return case.partition("[")[0] + (f"[{'-'.join(parts)}]" if parts else "")


def change(finding: GateFinding) -> Value:
    """Return how a metric changed: typical calls, and the mean where there is one; the reason where there is no number."""
    if finding.typical.value is None:
        return finding.reason
    if finding.mean is None:
        return finding.typical
    return Sentence("{typical}, mean {mean}", typical=finding.typical, mean=finding.mean)


def _worse_estimate(finding: GateFinding) -> Value:
    """Return the worse of a change's two estimates."""
    low, mean = finding.typical.low, finding.mean
    if mean is None or mean.low is None or low is None or low <= mean.low:
        return change(replace(finding, mean=None))
    return Sentence("mean {mean}", mean=mean)


def more(finding: GateFinding) -> Value:
    """Return what would decide it, or whatever else must be said beside a change; nothing for none."""
    if finding.verdict == "cannot tell" and finding.needed:
        slower = any(each.value < -each.alarms for each in finding.changes)
        what = "show a slowdown as large as this" if slower else "let it pass if nothing changed"
        return Sentence("; {n} launches in each run would {what}", n=finding.needed, what=what)
    words = finding.reason.words if isinstance(finding.reason, Sentence) else str(finding.reason)
    told = (finding.verdict == "cannot tell" and not finding.changes) or words.startswith("the anchor")
    if finding.reason and finding.typical.value is not None and told:
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
    """Say what would decide what the gate cannot tell: more launches; or, where none would, a larger limit, or a paired gate."""
    asked = found.asked
    if found.blocks is not None:
        yield from _longer(found.blocks, open_=found.verdict == "cannot tell" and found.unfit is None)
        return
    if not found.too_few:
        return
    if asked.launches is not None:
        time, rounds = Estimate(asked.seconds, kind="duration"), asked.rounds or found.rounds
        flags = Code(f"--effort {found.effort} --set launches={asked.launches} --set rounds={rounds}")
        words = "to pass identical code in {share}: {flags}" + "; about {time} for each run" * bool(asked.seconds)
        yield Sentence(words, share=Estimate(asked.passing, kind="share"), flags=flags, time=time)
        return
    open_ = {finding.check for finding in found.counted if finding.verdict == "cannot tell" and finding.changes}
    checks = [each for each in asked.usable if each in open_]
    if not checks:
        return
    usable = {check: asked.usable[check] for check in checks}
    yield Sentence(
        "identical code passes in {share} of gates of two such runs from {usable} on{history}",
        share=Estimate(PASSING[0], kind="share"),
        usable=_limits(found, usable),
        history="; three earlier runs of this machine (--history) measure how much runs differ" if found.run_sd else "",
    )
    wanted = {check: found.rules.limit(check) for check in checks}
    first = next((_typed(check, limit) for check, limit in wanted.items() if check in PAIRED), None)
    command = "modbench gate --paired BASE HEAD {suite} --fail-on {check}"
    paired = Code(Sentence(command, suite=found.suite, check=first))
    yield Sentence(
        "at {wanted} not even 1,000 launches in each run would do{both}",
        wanted=_limits(found, wanted),
        both=Sentence("; both revisions in one job may: {paired}", paired=paired) if first else "",
    )


def _limits(found: Gate, limits: Mapping[str, float]) -> Value:
    """Return limits as they are typed; without named checks, the margin that is as large as the largest."""
    if found.fail_on is None:
        return Sentence("a margin of {margin}", margin=Estimate(max(limits.values()), kind="share"))
    return Listed([*map(_typed, limits, limits.values())], ",")


def _typed(check: str, limit: float) -> Value:
    return written(check, Fraction(limit).limit_denominator(10**9))


def runs_differ(found: Gate) -> Sentence | None:
    """Return how much runs of the same code differ, as times are judged by it, and how that is known; None: no time is judged."""
    runs = [change.runs for each in found.counted for change in each.changes if change.spread is not None]
    if not runs:
        return None
    largest = max(runs, key=lambda each: each.sd)
    known = Sentence("in {n:earlier run}", n=largest.runs) if largest.runs else "assumed"
    return Sentence(", run sd {sd} {known}", sd=Estimate(largest.share, kind="share"), known=known)


def _longer(blocks: Blocks, *, open_: bool) -> Iterator[Sentence]:
    """Say which budget would decide what blocks of both sides leave open."""
    if not open_ or blocks.made < gate_looks.FEWEST:
        return
    if blocks.needed is None:
        yield Sentence("not even 1,000 blocks would decide it")
    elif blocks.budget_s is not None:
        flag = Code(f"--budget {math.ceil(blocks.budget_s / 60)}min")
        yield Sentence("{n:block} would probably decide it: {flag}", n=blocks.needed, flag=flag)


def by_block(found: Gate, *, every: bool = False) -> Iterator[Sentence]:
    """Say what was compared in how many blocks, and of each case how it changed, whatever the verdict."""
    if found.blocks is None:
        return
    first, *rest = found.blocks.sides
    yield Sentence("A: {first}; B: {rest}", first=first, rest=Listed(rest))
    most = len(found.findings) if every else MOST_REASONS
    known = [each for each in found.findings if each.typical.value is not None or each.verdict == "worse"]
    known.sort(key=lambda each: (each.verdict != "worse", _goodness(each)))
    for each in known[:most]:
        open_ = each.typical.value is not None and each.verdict == "cannot tell" and not each.changes
        words, case = "{verdict} {metric} {case} {change}" + "; {why}" * open_, Code(each.what)
        given = {"case": case, "change": change(each), "why": each.reason}
        yield Sentence(words, verdict=each.verdict, metric=each.metric, **given)
    if len(known) > most:
        yield Sentence("and {n} more: -v, or --json", n=len(known) - most)
    of = Sentence(" of at most {n}", n=found.blocks.planned) if found.blocks.planned > found.blocks.made else ""
    readings = [those[0].reason for those in by_reason([each for each in known if each.changes])]
    how = Listed(readings, "; ") if readings else "no ratio"
    yield Sentence("{n:block}{of}: {how}", n=found.blocks.made, of=of, how=how)


# --- tables


def tables(found: Gate) -> Iterator[Table]:
    """Yield the checks, then a table for each verdict that is not green, and for what has no verdict, by reason."""
    if found.tiers:
        yield Table(
            "checks",
            ("tier", "check", "verdict", "findings", "why"),
            [*map(_check, sorted(found.tiers, key=lambda each: not each.named))],
        )
    for verdict in ("worse", "cannot tell", "better", "not compared"):
        mine = [each for each in found.findings if each.verdict == verdict]
        known = [each for each in mine if _has_number(each)]
        if known:
            known.sort(key=lambda each: not found.counts(each))
            means = ("mean",) * any(each.mean is not None for each in known)
            head = ["case", "metric", "change: above 1 is better; of a loss the difference", *means, "why"]
            rows = [_row(found, each, means=bool(means)) for each in known]
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


def _row(found: Gate, each: GateFinding, *, means: bool) -> tuple[Value, ...]:
    beside: Value = more(each) or each.reason or ""
    if isinstance(beside, Sentence):
        beside = Sentence(beside.words.removeprefix("; "), **beside.given)
    why = beside if found.counts(each) else Sentence("{why} (reported only)", why=beside)
    return Code(each.what), Code(metric_of(each)), each.typical, *((each.mean or "",) if means else ()), why
