"""The anchor takes another time in the process that the user's code is loaded in: it changed what the process does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

from modbench.harness.core.labels import Label
from modbench.harness.domain.evidence import Doubt, Evidence
from modbench.harness.stats import contamination
from modbench.harness.stats.block_effects import Columns
from modbench.harness.stats.effects import t_quantile
from modbench.harness.stats.memo import remembered

# A difference below this is of no interest, and one that launches make more often than this is none.
LEAST, ALPHA = 0.05, 0.01
# Fewest launches from which their spread is estimated.
FEWEST = 3


@dataclass(frozen=True)
class Changed:
    """The anchor takes another time where the user's code is loaded.

    Attributes:
        ratio: its time beside the user's code, over its time without it.
        low: what one more launch beside the user's code would take at least, over the same, with a probability of 99 %.
        high: at most.
        launches: launches beside the user's code.
    """

    ratio: float
    low: float
    high: float
    launches: int


@remembered
def log_median(samples: Columns, column: str) -> float:
    """Logarithm of the median time of a launch."""
    return math.log(median(samples[column]))


def column_of(launches: Sequence[tuple[Columns, Columns]], *, one_thread: bool) -> str | None:
    """The time by which launches are held against one another: `wall_s`, or `cpu_s`, which waiting does not touch.

    Args:
        launches: the anchor's samples, and what witnesses saw of its blocks.
        one_thread: whether one thread does all the work, so that its CPU time is comparable.

    Returns:
        None where the machine was busy in one of them and no CPU time tells.
    """
    if not any(contamination.share_of_blocks(*each) > contamination.MOST for each in launches):
        return "wall_s"
    ticked = all(all(samples.get("cpu_s", (0.0,))) for samples, _ in launches)
    return "cpu_s" if one_thread and ticked else None


def changed(beside: Sequence[float], without: float) -> Changed | None:
    """Whether a launch without the user's code differs from those beside it by more than these do from one another.

    It does where it lies outside the interval in which one more of them would lie (a prediction interval of Student's t), and by
    more than `LEAST`.

    Args:
        beside: logarithms of the anchor's time in each launch beside the user's code.
        without: the same of the launch without it.
    """
    n = len(beside)
    if n < FEWEST:
        return None
    mean = fmean(beside)
    half = t_quantile(1 - ALPHA / 2, n) * stdev(beside) * math.sqrt(1 + 1 / n)
    apart = mean - without
    if abs(apart) <= max(half, math.log1p(LEAST)):
        return None
    return Changed(math.exp(apart), math.exp(apart - half), math.exp(apart + half), n)


def finds(evidence: Evidence) -> str | None:
    """The anchor's time beside the user's code over its time without it, and what launches would explain."""
    alone = evidence.without_own
    if alone is None:
        return None
    beside = [(outcome.samples, blocks) for outcome, blocks in zip(evidence.anchors, evidence.blocks, strict=False)]
    column = column_of([*beside, (alone.samples, alone.blocks)], one_thread=evidence.case.place.one_thread)
    if column is None:
        return None
    known = [log_median(samples, column) for samples, _ in beside]
    found = changed(known, log_median(alone.samples, column))
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
