"""Compares a run with an earlier one, as a gate in CI: is it shown that nothing got worse?

Times are compared as ratios to the anchor of their own run, so that a slower machine is not a regression; launches of the two
runs are independent samples. What is compared with what is in `gate_compare.py`, the rules in `gate_rules.py`, the anchor's own
time in `gate_anchor.py`, the words in `gate_words.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from modbench.harness.core.errors import UsageError
from modbench.reports import gate_anchor, gate_launches, gate_rules
from modbench.reports.gate_compare import Comparer
from modbench.reports.gate_launches import Asked
from modbench.reports.gate_rules import Finding
from modbench.reports.load import Loaded


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
    """

    findings: list[Finding]
    margin: float
    asked: Asked
    effort: str
    rounds: int
    timed: frozenset[str] = frozenset()
    unfit: str | None = None
    incomplete: str | None = None
    said: tuple[str, ...] = ()

    @property
    def compared(self) -> bool:
        """Whether anything was."""
        return any(finding.verdict in {"pass", "better", "worse"} for finding in self.findings)

    @property
    def verdict(self) -> str:
        """`worse`, `incomplete`, `cannot tell` or `pass`, the first that holds."""
        words = {finding.verdict for finding in self.findings}
        if "worse" in words:
            return "worse"
        if self.incomplete:
            return "incomplete"
        return "cannot tell" if self.unfit or "cannot tell" in words or not self.compared else "pass"

    @property
    def too_few(self) -> bool:
        """Whether more launches would decide something."""
        spreads = (c.spread for each in self.findings if each.verdict == "cannot tell" for c in each.changes)
        return any(spread is not None for spread in spreads)

    @property
    def launches(self) -> int | None:
        """The launches in each run that would let identical code pass; None where it can tell, or over 1,000."""
        return self.asked.launches if self.too_few else None

    def exit_code(self, *, lenient: bool = False) -> int:
        """Return 0, 1 (worse), 4 (incomplete) or 5 (cannot tell), which `lenient` turns into 0 unless the machine is unfit."""
        code = {"worse": 1, "incomplete": 4, "cannot tell": 5, "pass": 0}[self.verdict]
        return 0 if code == 5 and lenient and not self.unfit else code

    def as_dict(self, *, lenient: bool = False) -> dict[str, Any]:
        """Return plain data for `--json`."""
        told = {name: getattr(self, name) for name in ("verdict", "margin", "unfit", "incomplete", "said")}
        findings = [finding.as_dict() for finding in self.findings]
        told |= {"exit_code": self.exit_code(lenient=lenient), "launches": self.launches}
        return told | {"findings": findings}


def gate(run: Loaded, base: Loaded, margin: float | None = None, history: Sequence[str] = ()) -> Gate:
    """Compare every case and metric of two runs.

    Args:
        run: the new one.
        base: the old one.
        margin: the largest change that does not matter, as a share; None: the suites', the smaller if they differ.
        history: more earlier runs of this machine, or folders of them, from which the anchor's own time is judged.

    Raises:
        UsageError: if the two have no case in common, or a folder of the history is none.
    """
    now, then = run.tables, base.tables
    if not {*now.run.plan.cases} & {*then.run.plan.cases}:
        raise UsageError("the two runs have no case in common: a gate compares the same suite at two commits.")
    margins = [tables.run.plan.suite.margin for tables in (now, then)]
    chosen = min(margins) if margin is None else margin
    past = gate_anchor.history(now, then, history)
    findings = gate_rules.judge([*Comparer(now, then, chosen, past).findings()])
    timed = frozenset(
        key for key, metric in now.metrics.items() if now.made_in(metric).samples == "launches" and not metric.source
    )
    unfit = _unfit(run, base) if any(_counts(each) and each.metric in timed for each in findings) else None
    if unfit:
        why = "the machine is unfit to compare times"
        findings = [
            replace(each, verdict="cannot tell", reason=why, changes=())
            if each.changes and each.metric in timed
            else each
            for each in findings
        ]
    findings, asked = gate_launches.with_launches(findings)
    said = past.said
    if margin is None and margins[0] != margins[1]:
        said = (f"margins differ ({margins[0]:.1%} now, {margins[1]:.1%} before): the smaller is used", *said)
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
        said,
    )


def _counts(finding: Finding) -> bool:
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
