"""Warnings that the audit of a model brings (`run --audit`), with the audit's own sentence."""

from __future__ import annotations

from modbench.extend import Evidence, Label, warning


@warning(
    "Read its audit report: `modbench audit` makes it again, and `plugins/audit/README.md` says how each property is seen.",
    Label.DEVIATES,
)
def audit_deviates(evidence: Evidence) -> str | None:
    """Its audit found a property that does not hold, for which there is no label of its own."""
    return evidence.audited.get(Label.DEVIATES)


@warning(
    "Gather the tokens that a block computes before its products: what is computed and then zeroed costs what dense costs.",
    Label.ZEROES,
)
def computes_zeroes(evidence: Evidence) -> str | None:
    """Work of weights was multiplied by 0 or dropped: its audit found no logit that depends on it."""
    return evidence.audited.get(Label.ZEROES)


@warning("Draw in training mode alone: here each number is that of one draw.", Label.RANDOM)
def random_in_evaluation(evidence: Evidence) -> str | None:
    """Equal calls in evaluation mode differ: its audit found that the model draws random numbers."""
    return evidence.audited.get(Label.RANDOM)


@warning("Choose within each row: a loss or an answer at one batch size says nothing of another.", Label.ROWS_DEPEND)
def rows_depend(evidence: Evidence) -> str | None:
    """What a row gets depends on the other rows of its batch: so its audit found."""
    return evidence.audited.get(Label.ROWS_DEPEND)
