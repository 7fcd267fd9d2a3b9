"""Test whether the warm-up was long enough: no arm may still be getting faster or slower relative to its anchor.

Theil-Sen slope and Mann-Kendall test (Kendall's tau against time) over an arm's blocks. The paired effect is tested, not
the time itself: a clock that drifts slows all arms alike, which is unrelated to warm-up and cancels in every ratio. All arms
of a launch are one family: the level is divided by their number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

# Over all blocks of a launch; both must be exceeded.
DRIFT = 0.01
LEVEL = 0.01


def testable(blocks: int, arms: int) -> bool:
    """Whether the test can reject at all, with so many blocks in each of so many arms."""
    return 2 / math.factorial(blocks) < LEVEL / max(1, arms)


def trend(effects: Sequence[float]) -> tuple[float, float]:
    """Total drift of log-effects from the first block to the last, and its p-value."""
    from scipy import stats

    places = range(len(effects))
    slope = float(stats.theilslopes(effects, places).slope)
    p = float(stats.kendalltau(places, effects).pvalue)
    # Constant effects have no tau: they do not drift.
    return slope * len(effects), 1.0 if p != p else p  # noqa: PLR0124  # NaN


def unsteady(arms: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """Find the arms that drift; returns a sentence for each.

    Args:
        arms: each arm's block effects, in order.
    """
    found = {}
    for arm, effects in arms.items():
        if not testable(len(effects), len(arms)):
            continue
        drift, p = trend(effects)
        if abs(drift) > DRIFT and p < LEVEL / len(arms):
            found[arm] = (
                f"relative to the anchor it drifted by {drift:+.1%} over {len(effects)} blocks (Mann-Kendall p = {p:.2g})"
            )
    return found
