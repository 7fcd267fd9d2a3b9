"""Mean effects: the log-ratio of two arms' mean times in a launch, which decides throughput.

The median of block effects (`effects.pair_in_launch`) answers for a typical call. If one call in ten stalls, or six of sixteen
inputs cost four times as much, the median does not move and the mean does. Here every input has the same weight, over all samples
that nothing outside the model disturbed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection
from statistics import fmean

from modbench.harness.stats import contamination
from modbench.harness.stats.block_effects import Columns
from modbench.harness.stats.memo import remembered

Sample = tuple[float, float]  # seconds and weight


def log_mean(samples: Columns, column: str = "wall_s", blocks: Collection[float] | None = None) -> float:
    """Log of the mean over inputs of the mean time at each input.

    The log of a noisy mean is too low by half its relative variance; this is added, estimated from the samples of one block,
    which share their input.

    Args:
        samples: an arm's samples; without a column `input` all have the same weight.
        column: what is averaged.
        blocks: the blocks that count; None: all.
    """
    chosen = [i for i, block in enumerate(samples["block"]) if blocks is None or block in blocks]
    inputs = samples.get("input")
    of = [inputs[i] if inputs else 0.0 for i in chosen]
    visits = Counter(of)
    by_block: dict[float, list[Sample]] = {}
    for i, number in zip(chosen, of, strict=True):
        weight = 1 / (len(visits) * visits[number])
        by_block.setdefault(samples["block"][i], []).append((samples[column][i], weight))
    mean = sum(seconds * weight for block in by_block.values() for seconds, weight in block)
    noise = sum(
        _variance(block) * sum(weight**2 for _, weight in block) for block in by_block.values() if len(block) > 1
    )
    return math.log(mean) + noise / mean**2 / 2


def _variance(block: list[Sample]) -> float:
    """Variance of a block's seconds; `statistics.variance`, which is exact, takes a hundred times as long."""
    mean = fmean(seconds for seconds, _ in block)
    return sum((seconds - mean) ** 2 for seconds, _ in block) / (len(block) - 1)


def undisturbed_log_mean(samples: Columns, column: str, blocks: Columns) -> float:
    """The same over undisturbed samples; over all where an input has no undisturbed one."""
    clean = contamination.clean(samples, blocks)
    whole = clean.get("block") and _visited(clean, clean["block"]) == _visited(samples, samples["block"])
    return log_mean(clean if whole else samples, column)


def in_launch(
    arm: Columns | None, base: Columns | None, anchor: Columns, blocks: Columns, column: str = "wall_s"
) -> float | None:
    """Log-ratio of the mean times of two arms in one launch, each against the anchor in its own blocks.

    Args:
        arm: the arm's samples; None if it is the anchor.
        base: the base's samples; None if it is the anchor.
        anchor: the anchor's samples.
        blocks: what witnesses saw of the blocks.
        column: what is averaged.

    Returns:
        Positive where the arm took longer; None where one shares no block with the anchor.
    """
    sides = [None if side is None else _against(side, anchor, blocks, column) for side in (arm, base)]
    if (arm is not None and sides[0] is None) or (base is not None and sides[1] is None):
        return None
    return (sides[0] or 0.0) - (sides[1] or 0.0)


@remembered
def _against(arm: Columns, anchor: Columns, blocks: Columns, column: str) -> float | None:
    """From undisturbed samples in blocks that have some of both; from all samples where an input would be lost."""
    for mine, theirs in ((contamination.clean(arm, blocks), contamination.clean(anchor, blocks)), (arm, anchor)):
        shared = set(mine.get("block", ())) & set(theirs.get("block", ()))
        if shared and (mine is arm or _visited(mine, shared) == _visited(arm, set(arm["block"]))):
            return log_mean(mine, column, shared) - log_mean(theirs, column, shared)
    return None


def _visited(samples: Columns, blocks: Collection[float]) -> set[float]:
    """Inputs (or blocks, where inputs have no column) that these blocks visited."""
    numbers = samples.get("input") or samples["block"]
    return {number for number, block in zip(numbers, samples["block"], strict=True) if block in blocks}
