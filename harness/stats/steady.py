"""Was the warm-up enough? Tested, not assumed: no arm may still be getting faster or slower than its anchor.

Theil-Sen slope and Mann-Kendall test (Kendall's tau against time) over an arm's blocks. The paired effect is tested and not
the time itself: a machine whose clock drifts slows all arms alike, which is no warm-up and cancels in every ratio. All arms
of a launch are one family: the level is shared out among them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

# Over all blocks of a launch; both must be exceeded.
DRIFT = 0.01
LEVEL = 0.01


def testable(blocks: int, arms: int) -> bool:
    """Whether any order of so many blocks is rare enough to be told from chance, in one of so many arms."""
    return 2 / math.factorial(blocks) < LEVEL / max(1, arms)


def trend(effects: Sequence[float]) -> tuple[float, float]:
    """Total drift of log-effects from the first block to the last, and the p-value of its direction."""
    from scipy import stats

    places = range(len(effects))
    slope = float(stats.theilslopes(effects, places).slope)
    p = float(stats.kendalltau(places, effects).pvalue)
    # Equal effects throughout have no tau: they do not drift.
    return slope * len(effects), 1.0 if p != p else p  # noqa: PLR0124  # NaN


def unsteady(arms: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """Arm to what is wrong with it, in words, for those that drift.

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
                f"against the anchor it drifted by {drift:+.1%} over {len(effects)} blocks (Mann-Kendall p = {p:.2g})"
            )
    return found
