"""Audits in the terminal and as data: the answer first, then a line for each property; several models as one table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modbench.extend import Frozen, Loaded, Note, labelled, plain, wrapped, written_as_text
from modbench.plugins.audit import question
from modbench.plugins.audit.report import AuditReport, Finding
from modbench.plugins.audit.sentences import sentence


def card(made: AuditReport, columns: int) -> str:
    """Return one audit report, of at most 30 lines of 80 columns."""
    said = ((f"{mark} {title}", found) for title, mark, found in question.table(made).rows)
    lines = [*wrapped([question.answer(made), question.called(made)], columns), "", *labelled(said, columns)]
    return "\n".join([*lines, "", question.LEGEND])


def text(cards: Sequence[AuditReport], columns: int) -> str:
    """Return the report of one model, or the answers about several and one table."""
    if len(cards) == 1:
        return card(cards[0], columns)
    side = question.side_by_side(cards)
    return "\n".join(
        [*wrapped(map(question.answer, cards), columns), written_as_text([side, *map(Note, side.notes)], columns)]
    )


# --- as data


class Found(Finding):
    """A finding with its sentence.

    Attributes:
        said: the sentence, its values filled in.
        shown: the number that shows it, in its base unit; None: there is none.
    """

    said: str
    shown: float | None


class AuditedModel(AuditReport):
    """The audit report of one model.

    Attributes:
        answer: what deviates, in a sentence.
        findings: by property, in the order of the audit report.
    """

    answer: str
    findings: dict[str, Found]  # type: ignore[assignment]  # a narrower type


class VariantAudit(Frozen):
    """The audit of a variant of a run.

    Attributes:
        card: what was found; null: it could not be audited.
        reason: why not; null: it was.
    """

    card: AuditedModel | None
    reason: str | None


def by_variant(loaded: Loaded) -> dict[str, VariantAudit]:
    """Return the audits of a run by variant, as data."""
    return {
        variant: VariantAudit(card=None if each.card is None else as_model(each.card), reason=each.reason)
        for variant, each in question.audits(loaded).items()
    }


def as_model(card: AuditReport) -> AuditedModel:
    """Return an audit report as data, with its sentences."""
    found = {
        name: Found(**each.model_dump(), said=plain(sentence(each)), shown=each.value)
        for name, each in card.findings.items()
    }
    body: dict[str, Any] = {**card.model_dump(), "findings": found, "answer": plain(question.answer(card))}
    return AuditedModel(**body)
