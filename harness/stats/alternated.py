"""Two versions of the same code, timed in processes that alternate: first, second, first again.

A block is three launches: one of the first version, one of the second, and one more of the first. The second lies between the two
others in time, so that a machine that becomes steadily slower moves neither comparison: the effect is the mean of the two
outer launches minus the inner one. The two outer launches alone are an A/A test of exactly this mode: the same code, in processes
just as far apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from modbench.harness.stats import effects
from modbench.harness.stats.effects import Effect


class Block(NamedTuple):
    """Log times of one case in the three launches of a block.

    Attributes:
        first: of the first version.
        second: of the second version.
        again: of the first version, once more.
    """

    first: float
    second: float
    again: float


def between(blocks: Sequence[Block]) -> Effect:
    """The effect of the second version, above 0 where it is faster, with a t-interval over blocks."""
    return effects.over_launches([(each.first + each.again) / 2 - each.second for each in blocks])


def same(blocks: Sequence[Block]) -> Effect:
    """The A/A effect: the first version against itself. Every other block is mirrored, so that steady drift cancels."""
    return effects.over_launches([(each.first - each.again) * (-1) ** i for i, each in enumerate(blocks)])
