"""It is faster than its FLOPs explain, and no other label says why."""

from __future__ import annotations

import math
from statistics import median

from modbench.harness.core.labels import Label
from modbench.harness.domain.evidence import Doubt, Evidence
from modbench.harness.domain.notes import CountNotes
from modbench.harness.registry import catalogue
from modbench.harness.stats.block_effects import Columns
from modbench.harness.stats.memo import remembered

# How much more FLOP/s than its anchor a model may reach: a leaner block of equal FLOPs was 1.12 to 1.38 times as fast.
FACTOR = 1.5
# Time of an operator, whatever it computes: of small shapes most of the time is this, which FLOPs do not explain.
OPERATOR_S = 15e-6
# Labels that explain nothing about speed.
SILENT = frozenset(
    {Label.FASTER, Label.UNCHECKED, Label.CONTAMINATED, Label.NOT_AUTOREGRESSIVE, Label.SAW_FUTURE, Label.SAME}
)


def finds(evidence: Evidence) -> str | None:
    """The least ratio that the interval allows, and the ratio of FLOPs."""
    ideal = _ideal(evidence)
    if not evidence.timed or ideal is None or not evidence.anchors or evidence.case.id == evidence.anchors[0].case:
        return None
    ratio = _least_ratio(evidence)
    if ratio is None or ratio <= 1:
        return None
    anchor_s = _typical_s(*(outcome.samples for outcome in evidence.anchors))
    calls = _operators(evidence.anchor_counted) * (3 if evidence.metric.workload == "train_step" else 1)
    launching = min(1.0, OPERATOR_S * calls / anchor_s)
    if ratio * (1 - launching) <= FACTOR * ideal or _explained(evidence):
        return None
    return f"{Label.FASTER}: at least {ratio:.2f} times as fast as its anchor, where FLOPs promise {ideal:.2f} times"


@remembered
def _typical_s(*launches: Columns) -> float:
    return median(second for samples in launches for second in samples["wall_s"])


def _ideal(evidence: Evidence) -> float | None:
    """FLOPs of the anchor over those of the case; None where one of them is unknown or a lower bound."""
    sides = (evidence.anchor_counted, evidence.counted)
    theirs, mine = (getattr(side, evidence.metric.ideal, None) if evidence.metric.ideal else None for side in sides)
    if not theirs or not mine or any(side.operators and side.operators.unknown for side in sides):
        return None
    return float(theirs / mine)


def _least_ratio(evidence: Evidence) -> float | None:
    """The lower end of the interval of anchor over case; None where there is no interval."""
    from modbench.harness.stats import effects

    pairs = zip(evidence.outcomes, evidence.anchors, strict=False)
    launches = [effects.pair_in_launch(mine.samples, None, theirs.samples) for mine, theirs in pairs]
    found = [launch for launch in launches if launch is not None]
    if not found:
        return None
    within = [-effect for effect in found[0].within] if len(found) == 1 else None
    low = effects.over_launches([-launch.effect for launch in found], within).low
    return None if low is None else math.exp(low)


def _operators(counted: CountNotes) -> int:
    """Calls of operators in a forward pass, products aside."""
    return sum(counted.operators.cheap.values()) if counted.operators else 0


def _explained(evidence: Evidence) -> bool:
    """Whether another label says why."""
    doubts = catalogue.usable("doubts").values()
    return any(doubt.label and doubt.label not in SILENT and doubt.finds(evidence) for doubt in doubts)


DOUBT = Doubt(
    finds=finds,
    advice="Find out what it does not compute: a cache, a shortcut, work that the counter cannot see, or a leaner block.",
    label=Label.FASTER,
)
