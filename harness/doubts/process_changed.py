"""The anchor takes another time in the process that the user's code is loaded in: it changed what the process does."""

from __future__ import annotations

from modbench.harness.core.labels import Label
from modbench.harness.domain.evidence import Doubt, Evidence
from modbench.harness.stats import without_own


def finds(evidence: Evidence) -> str | None:
    """The anchor's time beside the user's code over its time without it, and what launches would explain."""
    alone = evidence.without_own
    if alone is None:
        return None
    beside = [(outcome.samples, blocks) for outcome, blocks in zip(evidence.anchors, evidence.blocks, strict=False)]
    column = without_own.column([*beside, (alone.samples, alone.blocks)], one_thread=evidence.case.place.one_thread)
    if column is None:
        return None
    known = [without_own.log_median(samples, column) for samples, _ in beside]
    found = without_own.changed(known, without_own.log_median(alone.samples, column))
    if found is None:
        return None
    spread = found.ratio / found.low
    return (
        f"{Label.PROCESS_CHANGED}: {evidence.anchors[0].case} takes {found.ratio:.3g} times as long beside the user's code as "
        f"in a process without it; as its {found.launches} launches differ, {1 / spread:.3g} to {spread:.3g} times are expected"
    )


DOUBT = Doubt(
    finds=finds,
    advice=(
        "Find what your file, or a package that it imports, changes for its whole process: a function of torch that it "
        "replaces, a thread that it starts. If it changes nothing, the machine did meanwhile: measure again."
    ),
    label=Label.PROCESS_CHANGED,
)
