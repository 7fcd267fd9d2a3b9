"""Audits of a run: what the probes found of the user's models, by variant, and findings as sentences."""

from __future__ import annotations

from modbench.extend import Estimate, Kind, Label, Listed, Sentence, Value, grouped, plain
from modbench.plugins.audit.report import AuditReport, Finding, Given, Number


def written(given: Given) -> Value:
    """Return a value of a finding as a writer takes it."""
    if isinstance(given, Number):
        kind: Kind = "share" if given.kind == "fraction" else "count" if given.kind == "point" else given.kind
        return Estimate(given.value, kind=kind, unit=given.unit)
    return Listed(given) if isinstance(given, tuple) else given


def sentence(found: Finding) -> Sentence:
    """Return what a probe found in words."""
    return Sentence(found.words, **{name: written(value) for name, value in found.given.items()})


def by_label(card: AuditReport) -> dict[Label, str]:
    """Return sentences of an audit report by the label that they bring, most important first."""
    said = grouped((each.label, plain(sentence(each))) for each in card.findings.values() if each.label is not None)
    return {label: "; ".join(each) for label, each in said.items()}
