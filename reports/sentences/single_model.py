"""A run of one model: its numbers, since there is nothing to compare them with."""

from __future__ import annotations

from modbench.harness.core.units import human
from modbench.reports.tables import losses
from modbench.reports.tables.load import Loaded
from modbench.reports.wording.arm_names import name
from modbench.reports.wording.words import TIMED

# What is said of it in one sentence, where it was measured.
NUMBERS = (*TIMED, ("forward FLOPs", "flops/forward"), ("peak memory", "memory/peak_allocated"))
WHY = "nothing is compared, so that there is no ratio, no verdict and no identical twin of a baseline"


def is_alone(loaded: Loaded) -> bool:
    """Whether a run has one arm, at whatever lengths."""
    return len(loaded.arms) == 1 and loaded.run.plan.suite.isoflop is None


def in_words(loaded: Loaded) -> str:
    """Say what one model took at the longest length, and why there is no more."""
    (case,) = loaded.arms
    length = loaded.lengths[-1] if loaded.lengths else None
    rows = [(title, loaded.case(case.arm, metric, length)) for title, metric in NUMBERS]
    said = [
        f"{title} {human(float(row.value), str(row.unit))}"
        for title, row in rows
        if row is not None and row.status == "ok"
    ]
    for loss in losses.shown(loaded)[:1]:
        value = loaded.value(case.arm, loss.metric)
        said += [] if value is None else [f"held-out loss {value * loss.factor:.3f} {loss.unit}"]
    numbers = f" At T = {length:,}: {', '.join(said)}." if said and length is not None else ""
    return f"{name(case)} was measured alone: {WHY}.{numbers}"
