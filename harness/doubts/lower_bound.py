"""Not all FLOPs were counted: an operator ran for which there is no formula."""

from __future__ import annotations

from modbench.harness.core.labels import Label
from modbench.harness.domain.evidence import Doubt, Evidence


def finds(evidence: Evidence) -> str | None:
    """Names and calls of the operators without a formula."""
    if evidence.metric.unit != "FLOP" and not evidence.metric.needs:
        return None
    names = evidence.counted.operators.unknown if evidence.counted.operators else {}
    return (
        f"{Label.LOWER_BOUND}: no formula for {', '.join(f'{name} ({n} calls)' for name, n in names.items())}"
        if names
        else None
    )


DOUBT = Doubt(
    finds=finds,
    label=Label.LOWER_BOUND,
    advice="No ideal, and no share of an ideal, is computed from a lower bound.",
)
