"""How long a call of an arm takes in each launch: what its anchor takes, times what the arm takes beside it.

The ratio of two arms is taken within blocks, in which both met the same machine. Their own medians are over all of their calls:
where the machine changes from block to block, the quotient of two medians is another number than that ratio. So the time of an
arm is its anchor's, changed by the effect of the arm against the anchor. Then the quotient of two arms' times is their ratio.
"""

from __future__ import annotations

import math
from statistics import median

from modbench.harness.stats import effects, paired
from modbench.harness.stats.block_effects import Columns
from modbench.harness.stats.memo import remembered


@remembered
def _median(samples: Columns, column: str) -> float:
    return median(map(math.log, samples[column]))


def typical(side: Columns | None, anchor: Columns | None, column: str = "wall_s") -> float:
    """Log of the time of a typical call in a launch.

    Args:
        side: the arm's samples; None if it is the anchor.
        anchor: the anchor's samples; None: it has none, and the arm's own median is all there is.
        column: what is measured.
    """
    beside = None if side is None or anchor is None else effects.beside(side, anchor, column)
    if anchor is None or (side is not None and beside is None):
        assert side is not None, "one of the two was timed"
        return _median(side, column)
    return _median(anchor, column) + (beside.median if beside is not None else 0.0)


def mean(side: Columns | None, anchor: Columns | None, blocks: Columns, column: str = "wall_s") -> float:
    """Log of the mean time in a launch, from undisturbed samples where there are enough.

    Args:
        side: as in `typical`.
        anchor: as in `typical`.
        blocks: what witnesses saw of the blocks.
        column: what is averaged.
    """
    beside = None if side is None or anchor is None else paired.mean_beside(side, anchor, blocks, column)
    if anchor is None or (side is not None and beside is None):
        assert side is not None, "one of the two was timed"
        return paired.undisturbed_log_mean(side, column, blocks)
    return paired.undisturbed_log_mean(anchor, column, blocks) + (beside or 0.0)
