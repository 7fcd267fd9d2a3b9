"""Is it what it says, does it skip, may it be believed? What the probes found of a model, or of several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from modbench.extend import Block, Code, Estimate, Listed, Note, Sentence, Table, Value, wording
from modbench.plugins.audit.report import AUDIT, AuditFinding, AuditReport, Verdict
from modbench.plugins.audit.sentences import sentence, written

if TYPE_CHECKING:
    from modbench.extend import Loaded, Record

MARKS = {"yes": "=", "no": "≠", "not observable": "?", "reported": "·"}
# Verdicts that are counted; what is only reported is not.
COUNTED: tuple[Verdict, ...] = ("no", "yes", "not observable")
LEGEND = "= yes, ≠ no, ? not observable by calls, · reported, not judged"


def answer(card: AuditReport) -> Sentence:
    """Count the verdicts, and name the properties that a model does not have: `mine:build: 1 no (causal), 12 yes`."""
    counts = list[Value]()
    for verdict in COUNTED:
        names = card.named(verdict)
        words = "{n} {verdict}" + " ({names})" * (verdict == "no")
        told = Sentence(words, n=len(names), verdict=verdict, names=Listed([card.titles[name] for name in names]))
        counts += [told] if names else []
    return Sentence(
        "{target}: {counts}", target=Code(card.target), counts=Listed(counts) if counts else "nothing is judged"
    )


def called(card: AuditReport) -> Sentence:
    """Return what was built and called."""
    words = "checked against {of}, " if card.of else ""
    words += "by calls alone: B = {rows}, T = {tokens}, {dtype}; {params:parameter}; {wall}"
    known: dict[str, Value] = {"of": card.of, "rows": card.batch_size, "tokens": card.seq_len, "dtype": card.dtype}
    return Sentence(words, params=card.params, wall=Estimate(card.wall_s, unit="s"), **known)


def table(card: AuditReport) -> Table:
    """Return one row for each property."""
    rows: list[list[Value]] = [
        [card.titles[name], MARKS[found.verdict], sentence(found)] for name, found in card.findings.items()
    ]
    return Table("Properties", ("property", "", "found"), rows, notes=[LEGEND])


def blocks(card: AuditReport) -> list[Block]:
    """Return what a page has of an audit report below its answer."""
    return [Note(called(card)), table(card)]


def audits(loaded: Loaded) -> dict[str, AuditFinding]:
    """Return the audits of a run by variant, in the order of its jobs; sizes of a sweep are one variant."""
    found = dict[str, AuditFinding]()
    for planned in loaded.tables.jobs:
        if planned.record is not None and planned.job.made_in == AUDIT:
            case = planned.job.comparison.variants[0]
            found[case.family] = _audit_in(planned.record)
    return found


def _audit_in(record: Record) -> AuditFinding:
    """Return the audit that a record holds, or why it holds none."""
    if isinstance(record.findings, AuditFinding):
        return record.findings
    return AuditFinding(reason=record.died.reason if record.died else "its record is damaged")


def cards(loaded: Loaded) -> dict[str, AuditReport]:
    """Return the audit reports of a run by variant, each called as the variant is."""
    return {
        variant: found.card.model_copy(update={"target": _called(loaded, variant)})
        for variant, found in audits(loaded).items()
        if found.card is not None
    }


def failures(loaded: Loaded) -> list[Sentence]:
    """Return which variants of a run could not be audited, and why."""
    return [
        Sentence("{variant} could not be audited: {why}", variant=_called(loaded, variant), why=found.reason)
        for variant, found in audits(loaded).items()
        if found.reason
    ]


def _called(loaded: Loaded, variant: str) -> str:
    """What tables call a variant; of a sweep's sizes what they have in common."""
    return next((wording.name(case) for case in loaded.plan.cases if case.variant == variant), variant)


def side_by_side(cards: Sequence[AuditReport]) -> Table:
    """Return one row for each property, one column for each model: its mark, with the number that shows a deviation."""
    names = {name: card.titles[name] for card in cards for name in card.findings}
    rows: list[list[Value]] = [[title, *(_cell(card, name) for card in cards)] for name, title in names.items()]
    return Table("Properties", ("property", *(card.target for card in cards)), rows, notes=[LEGEND])


def _cell(card: AuditReport, name: str) -> Value:
    found = card.findings.get(name)
    if found is None:
        return ""
    mark = MARKS[found.verdict]
    if found.verdict in {"no", "reported"} and found.number:
        return Sentence("{mark} {number}", mark=mark, number=written(found.given[found.number]))
    return mark
