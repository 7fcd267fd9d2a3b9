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
from typing import NamedTuple

from modbench.harness.stats import contamination
from modbench.harness.stats.block_effects import Columns
from modbench.harness.stats.memo import remembered


class _Block(NamedTuple):
    """An arm's samples in one block: the input that they share, their number, sum and variance."""

    input: float
    n: int
    total: float
    variance: float


@remembered
def _blocks(samples: Columns, column: str) -> dict[float, _Block]:
    inputs = samples.get("input")
    values: dict[float, list[float]] = {}
    of: dict[float, float] = {}
    for i, (block, value) in enumerate(zip(samples.get("block", ()), samples.get(column, ()), strict=True)):
        values.setdefault(block, []).append(value)
        of[block] = inputs[i] if inputs else 0.0
    return {block: _Block(of[block], len(each), sum(each), _variance(each)) for block, each in values.items()}


def _variance(values: list[float]) -> float:
    """Variance, 0 of one value; `statistics.variance`, which is exact, takes a hundred times as long."""
    if len(values) < 2:
        return 0.0
    if len(values) == 2:  # as most blocks have; the same to the bit
        mean = (values[0] + values[1]) / 2
        return (values[0] - mean) ** 2 + (values[1] - mean) ** 2
    mean = fmean(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)


def log_mean(samples: Columns, column: str = "wall_s", blocks: Collection[float] | None = None) -> float:
    """Log of the mean over inputs of the mean time at each input.

    The log of a noisy mean is too low by half its relative variance; this is added, estimated from the samples of one block,
    which share their input.

    Args:
        samples: an arm's samples; without a column `input` all have the same weight.
        column: what is averaged.
        blocks: the blocks that count; None: all.
    """
    known = _blocks(samples, column)
    chosen = list(known.values()) if blocks is None else [known[block] for block in sorted(blocks) if block in known]
    visits = Counter[float]()
    for block in chosen:
        visits[block.input] += block.n
    weights = [1 / (len(visits) * visits[block.input]) for block in chosen]
    mean = sum(block.total * weight for block, weight in zip(chosen, weights, strict=True))
    noise = sum(block.variance * block.n * weight**2 for block, weight in zip(chosen, weights, strict=True))
    return math.log(mean) + noise / mean**2 / 2


def undisturbed_log_mean(samples: Columns, column: str, blocks: Columns) -> float:
    """The same over undisturbed samples; over all where an input has no undisturbed one."""
    clean = contamination.clean(samples, blocks)
    whole = clean.get("block") and _visited(clean, column) == _visited(samples, column)
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
        shared = _blocks(mine, column).keys() & _blocks(theirs, column).keys()
        if shared and (mine is arm or _visited(mine, column, shared) == _visited(arm, column)):
            return log_mean(mine, column, shared) - log_mean(theirs, column, shared)
    return None


def _visited(samples: Columns, column: str, chosen: Collection[float] | None = None) -> set[float]:
    """Inputs (or blocks, where inputs have no column) that these blocks visited; None: all blocks."""
    known = _blocks(samples, column)
    blocks = known if chosen is None else chosen
    return {known[block].input for block in blocks} if samples.get("input") else set(blocks)
