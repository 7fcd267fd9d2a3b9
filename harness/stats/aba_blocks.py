"""Two versions of the same code, timed in processes that take turns: first, second, first again.

A block is three processes that are alive together: one of the first version, one of the second, and one more of the first. Their
rounds alternate: in each round all three meet the same machine, and the second version lies between the two others in time, so
that a machine that becomes steadily slower does not move the effect. A round's effect is the mean of the two outer processes
minus the inner one; a block's is the median of its rounds'. Blocks are the units of evidence: processes of the same code differ,
and rounds do not show by how much. The two outer processes alone are an A/A test of exactly this mode; they change places from
block to block.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from modbench.harness.stats import effects
from modbench.harness.stats.effects import Effect


class Block(NamedTuple):
    """Effects of one case in a block, on the log scale.

    Attributes:
        effect: of the second version, above 0 where it is faster.
        same: of the first version against itself.
    """

    effect: float
    same: float


def block(first: Sequence[float], second: Sequence[float], again: Sequence[float]) -> Block:
    """The effects in a block.

    Args:
        first: log times of the first version, round by round.
        second: of the second version.
        again: of the first version, in the other process.
    """
    rounds = list(zip(first, second, again, strict=True))
    return Block(median((a + c) / 2 - b for a, b, c in rounds), median(a - c for a, _, c in rounds))


def between(blocks: Sequence[Block]) -> Effect:
    """The effect of the second version, above 0 where it is faster, with a t-interval over blocks."""
    return effects.over_launches([each.effect for each in blocks])


def same(blocks: Sequence[Block]) -> Effect:
    """The A/A effect: the first version against itself."""
    return effects.over_launches([each.same for each in blocks])


def gap(wall: Sequence[Block], cpu: Sequence[Block]) -> Effect:
    """How far the effects by two clocks lie apart, block by block."""
    return effects.over_launches([one.effect - other.effect for one, other in zip(wall, cpu, strict=True)])
