"""Device timings include host time: the spin kernel ended before all work was queued."""

from __future__ import annotations

from modbench.harness.domain.evidence import Doubt, Evidence


def finds(evidence: Evidence) -> str | None:
    """Share of samples in which the device waited for the host inside the event pair."""
    shares = [sum(s) / len(s) for o in evidence.outcomes if (s := o.samples.get("starved"))]
    if not shares or max(shares) == 0:
        return None
    return f"in {max(shares):.0%} of the device timings the device waited for the host"


DOUBT = Doubt(
    finds=finds,
    advice="Either the model asks the host for something (`syncs/forward` counts how often), or it launches more kernels than "
    "the driver queues, about a thousand. Use the end-to-end time.",
)
