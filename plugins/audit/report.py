"""The audit report of a model: what each probe found, as typed values. No torch, not even for types: reports read it."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any, Literal, Self, TypeAlias, get_args

from pydantic import Field, JsonValue, model_validator

from modbench.extend import Frozen, Label, Notes, checked, shown

# The pass that audits models of a run.
AUDIT = "audit"
# Whether a model has a property: judged twice, not decided with the reason, or a fact that nobody is judged by.
Verdict: TypeAlias = Literal["yes", "no", "not observable", "reported"]
# What a model may be held to with `--expect`.
Architecture: TypeAlias = Literal["dense", "mod", "mode", "moe", "early_exit"]
ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)
# How a number is written (`reports/blocks.py`).
Kind: TypeAlias = Literal["quantity", "ratio", "fraction", "share", "count", "point"]


class Number(Frozen):
    """A number that a probe measured.

    Attributes:
        value: in the base unit.
        kind: what it is: a quantity in its unit, a ratio, a fraction, a share, a count, or a point of an axis.
        unit: base unit of a quantity (`harness/core/units.py`).
    """

    value: float
    kind: Kind = "quantity"
    unit: str = ""


Given: TypeAlias = Number | int | str | tuple[str, ...]


class Finding(Frozen):
    """What one probe found.

    Attributes:
        verdict: whether the property holds.
        words: a sentence with `{names}`, which a writer fills in; a noun may follow a number: `{n:token}`.
        given: the values by name.
        number: the name of the value that shows it; empty: no number does.
        facts: further values for the JSON.
        label: what a run that audits the model says beside its numbers; None: nothing.
    """

    verdict: Verdict
    words: str
    given: dict[str, Given] = Field(default_factory=dict)
    number: str = ""
    facts: dict[str, JsonValue] = Field(default_factory=dict)
    label: Label | None = None

    @model_validator(mode="after")
    def _gives_what_it_names(self) -> Self:
        """Check that a writer can fill in the words."""
        names = [name for _, name, _, _ in string.Formatter().parse(self.words) if name is not None]
        for name in (*names, *filter(None, [self.number])):
            if name not in self.given:
                raise ValueError(f"{shown(name)} is named, and not given")
        return self

    def labelled(self, label: Label) -> Finding:
        """The same with the label that it brings to a run."""
        return self.model_copy(update={"label": label})

    @property
    def value(self) -> float | None:
        """The number that shows it, in its base unit; None: there is none."""
        found = self.given.get(self.number)
        if isinstance(found, Number):
            return found.value
        return float(found) if isinstance(found, int) else None


def holds(words: str, number: str = "", *, facts: Mapping[str, Any] | None = None, **given: Given) -> Finding:
    """A property that holds."""
    return Finding(verdict="yes", words=words, given=given, number=number, facts=dict(facts or {}))


def deviates(words: str, number: str, *, facts: Mapping[str, Any] | None = None, **given: Given) -> Finding:
    """A property that does not hold, with the number that shows it."""
    found = Finding(verdict="no", words=words, given=given, number=number, facts=dict(facts or {}))
    return found.labelled(Label.DEVIATES)


def reported(words: str, number: str = "", *, facts: Mapping[str, Any] | None = None, **given: Given) -> Finding:
    """A fact."""
    return Finding(verdict="reported", words=words, given=given, number=number, facts=dict(facts or {}))


def unseen(words: str, *, facts: Mapping[str, Any] | None = None, **given: Given) -> Finding:
    """A property that calls do not show; the words say why, or what would show it."""
    return Finding(verdict="not observable", words=words, given=given, facts=dict(facts or {}))


class AuditReport(Frozen):
    """What all probes found of one model.

    Attributes:
        target: the model, as it was named.
        of: what it was held to; None: to nothing.
        params: elements of its parameters.
        seq_len: tokens of each row that it was called with.
        batch_size: rows.
        dtype: number format.
        config: its shape, where it was built from one.
        findings: by property, in the order of the audit report.
        titles: the name of each property for people.
        wall_s: seconds that the probes took.
    """

    target: str
    of: Architecture | None
    params: int
    seq_len: int
    batch_size: int
    dtype: str
    config: dict[str, JsonValue] = Field(default_factory=dict)
    findings: dict[str, Finding]
    titles: dict[str, str]
    wall_s: float

    @model_validator(mode="after")
    def _names_each_property(self) -> Self:
        for name in self.findings:
            if name not in self.titles:
                raise ValueError(f"{shown(name)} has no title")
        for title in self.titles.values():
            checked(title)
        return self

    def __getitem__(self, name: str) -> Finding:
        """The finding of a property."""
        return self.findings[name]

    def named(self, verdict: Verdict) -> tuple[str, ...]:
        """Properties with this verdict."""
        return tuple(name for name, found in self.findings.items() if found.verdict == verdict)

    @property
    def deviates(self) -> tuple[str, ...]:
        """Properties that do not hold."""
        return self.named("no")


class AuditFinding(Notes):
    """The audit of a model in a run (`plugins/audit/measurement.py`).

    Attributes:
        card: what the probes found; None: it could not be audited.
        reason: why not; None: it was.
    """

    card: AuditReport | None = None
    reason: str | None = None
