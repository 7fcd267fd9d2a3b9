"""Compares a run with an earlier one, as a gate in CI: is it shown that nothing got worse?

Times are compared as ratios to the anchor of their own run, so that a slower machine is not a regression; launches of the two
runs are independent samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from modbench.harness.core.errors import UsageError
from modbench.reports.questions.gate import anchor_history, non_inferiority
from modbench.reports.questions.gate.comparer import Comparer
from modbench.reports.questions.gate.fail_on import Checked, FailOn, Rules, checked
from modbench.reports.questions.gate.non_inferiority import LABELS, Asked, GateFinding
from modbench.reports.tables.load import Loaded
from modbench.reports.writers.number_format import percent

UNFIT = "the machine is unfit to compare times"


@dataclass(frozen=True)
class Gate:
    """What a gate found.

    Attributes:
        findings: one for every case and metric of either run.
        margin: the largest change that does not matter, as a share.
        asked: launches that would let identical code pass.
        effort: effort of the new run.
        rounds: rounds of a launch in the new run.
        timed: keys of metrics that are sampled in launches: times, and energy.
        unfit: why times of a run cannot be used; None: they can.
        incomplete: why a run lacks something; None: neither does.
        said: what else must be known.
        fail_on: the checks that `--fail-on` named; None: all findings count.
        checks: the check that judges each metric, and labels.
    """

    findings: list[GateFinding]
    margin: float
    asked: Asked
    effort: str
    rounds: int
    timed: frozenset[str] = frozenset()
    unfit: str | None = None
    incomplete: str | None = None
    said: tuple[str, ...] = ()
    fail_on: FailOn | None = None
    checks: Mapping[str, str | None] = field(default_factory=dict)

    def counts(self, finding: GateFinding) -> bool:
        """Whether the gate can fail on a finding: of several checks, only on those that were named."""
        return self.fail_on is None or self.checks.get(finding.metric) in self.fail_on.limits

    @property
    def counted(self) -> list[GateFinding]:
        """The findings that the gate can fail on."""
        return [finding for finding in self.findings if self.counts(finding)]

    @cached_property
    def tiers(self) -> tuple[Checked, ...]:
        """What each check found; empty where none was named."""
        return () if self.fail_on is None else checked(self.findings, self.checks, self.fail_on)

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
        """The launches in each run that would let identical code pass; None where it can tell, or over 1,000."""
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
        """Return plain data for `--json`."""
        told = {name: getattr(self, name) for name in ("verdict", "compared", "margin", "unfit", "incomplete", "said")}
        findings = [finding.as_dict() for finding in self.findings]
        told |= {"exit_code": self.exit_code(lenient=lenient), "launches": self.launches}
        if self.fail_on is not None:
            told |= {"fail_on": str(self.fail_on), "tiers": [each.as_dict() for each in self.tiers]}
            for data, finding in zip(findings, self.findings, strict=True):
                data |= {"check": self.checks.get(finding.metric), "counts": self.counts(finding)}
        return told | {"findings": findings}


def gate(
    run: Loaded,
    base: Loaded,
    margin: float | None = None,
    history: Sequence[str] = (),
    fail_on: FailOn | None = None,
) -> Gate:
    """Compare every case and metric of two runs.

    Args:
        run: the new one.
        base: the old one.
        margin: the largest change that does not matter, as a share; None: the suites', the smaller if they differ.
        history: more earlier runs of this machine, or folders of them, from which the anchor's own time is judged.
        fail_on: the checks that count, with limits of their own; None: every finding counts.

    Raises:
        UsageError: if the two have no case in common, or a folder of the history is none.
    """
    now, then = run.tables, base.tables
    if not {*now.run.plan.cases} & {*then.run.plan.cases}:
        raise UsageError("the two runs have no case in common: a gate compares the same suite at two commits.")
    margins = [tables.run.plan.suite.margin for tables in (now, then)]
    chosen = min(margins) if margin is None else margin
    rules = Rules(chosen, fail_on)
    metrics = {**then.metrics, **now.metrics}
    past = anchor_history.history(now, then, history)
    findings = [*Comparer(now, then, rules, past).findings()]
    checks = rules.checks(metrics.values())
    named = [rules.named(checks[finding.metric]) for finding in findings]
    timed = frozenset(
        key for key, metric in now.metrics.items() if now.made_in(metric).samples == "launches" and not metric.source
    )
    # Checks that are not named take no evidence from those that are.
    groups = [[i for i, each in enumerate(named) if each is wanted] for wanted in (True, False)]
    asked = Asked()
    unfit, said = None, list(past.said)
    for wanted, places in zip((True, False), groups, strict=True):
        mine = non_inferiority.judge([findings[i] for i in places])
        if (why := _unfit(run, base)) and any(_counts(each) and each.metric in timed for each in mine):
            unfit = why if wanted else unfit
            said += [] if wanted else [why]
            mine = [_untold(each) if each.changes and each.metric in timed else each for each in mine]
        mine, launches = non_inferiority.with_launches(mine)
        asked = launches if wanted else asked
        for i, finding in zip(places, mine, strict=True):
            findings[i] = finding
    if margin is None and fail_on is None and margins[0] != margins[1]:
        said.insert(0, f"margins differ ({percent(margins[0])} now, {percent(margins[1])} before): the smaller is used")
    lacking = filter(None, (tables.run.incomplete for tables in (now, then)))
    return Gate(
        findings,
        chosen,
        asked,
        now.run.plan.suite.effort,
        now.run.plan.suite.protocol_size[1],
        timed,
        unfit,
        next(lacking, None),
        tuple(said),
        fail_on,
        checks if fail_on is not None else {},
    )


def _untold(finding: GateFinding) -> GateFinding:
    return replace(finding, verdict="cannot tell", reason=UNFIT, changes=())


def _counts(finding: GateFinding) -> bool:
    """Whether it stands on evidence, or would if there were enough: not on a failure or a new label."""
    return bool(finding.changes) or finding.verdict == "cannot tell"


def _unfit(*runs: Loaded) -> str | None:
    """Return which run's times come from a machine that calls identical models different too often, or None."""
    for loaded in runs:
        known = loaded.certificate
        if known is not None and known.verdict == "unfit":
            return (
                f"{loaded.path}: its times cannot be compared. {known.in_words()}. Run `modbench doctor` for details."
            )
    return None
