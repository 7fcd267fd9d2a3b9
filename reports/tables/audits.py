"""Audits of a run: what the probes found of the user's models, by variant, and findings as sentences."""

from __future__ import annotations

from modbench.harness.audit.audit_report import AUDIT, AuditFinding, AuditReport, Finding, Given, Number
from modbench.harness.core.grouped import grouped
from modbench.harness.core.labels import Label
from modbench.harness.domain.records import Record
from modbench.reports.model import Estimate, Kind, Listed, Sentence, Value
from modbench.reports.writers.number_format import plain


def written(given: Given) -> Value:
    """Return a value of a finding as a writer takes it."""
    if isinstance(given, Number):
        kind: Kind = "share" if given.kind == "fraction" else "count" if given.kind == "point" else given.kind
        return Estimate(given.value, kind=kind, unit=given.unit)
    return Listed(given) if isinstance(given, tuple) else given


def sentence(found: Finding) -> Sentence:
    """Return what a probe found in words."""
    return Sentence(found.words, **{name: written(value) for name, value in found.given.items()})


def audit_in(record: Record) -> AuditFinding | None:
    """Return the audit that a record holds, or why it holds none; None for a job that audits nothing."""
    if record.job.made_in != AUDIT:
        return None
    if isinstance(record.findings, AuditFinding):
        return record.findings
    return AuditFinding(reason=record.died.reason if record.died else "its record is damaged")


def by_label(card: AuditReport) -> dict[Label, str]:
    """Return sentences of a card by the label that they bring, most important first."""
    said = grouped((each.label, plain(sentence(each))) for each in card.findings.values() if each.label is not None)
    return {label: "; ".join(each) for label, each in said.items()}
