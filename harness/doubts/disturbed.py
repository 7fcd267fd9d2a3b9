"""Samples were disturbed: by preemption, garbage collection, steal time, throttling or another process."""

from __future__ import annotations

from modbench.harness.domain.evidence import Doubt, Evidence
from modbench.harness.stats import contamination

# Below this share of blocks the median is not affected.
SHARE = 0.2


def finds(evidence: Evidence) -> str | None:
    """Share of blocks with a disturbed sample, and the causes."""
    if not evidence.timed or not evidence.outcomes:
        return None
    pairs = [(outcome.samples, columns) for outcome, columns in zip(evidence.outcomes, evidence.blocks, strict=True)]
    shares = [contamination.share_of_blocks(samples, columns) for samples, columns in pairs]
    share = sum(shares) / len(shares)
    if share <= SHARE:
        return None
    found = contamination.counted(mark for samples, columns in pairs for mark in contamination.causes(samples, columns))
    return (
        f"{share:.0%} of its blocks were disturbed ({', '.join(f'{cause}: {n} samples' for cause, n in found.items())})"
    )


DOUBT = Doubt(
    finds=finds,
    advice="Keep the machine idle, or use the CPU-time ratio; `modbench doctor` measures how noisy this machine is.",
)
