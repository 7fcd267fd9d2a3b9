"""Was the warm-up enough? Tested, not assumed: no arm may still be getting faster or slower than its anchor.

Theil-Sen slope and Mann-Kendall test (Kendall's tau against time) over an arm's blocks. The paired effect is tested, not the time
itself: a machine whose clock drifts slows all arms alike, which is no warm-up and cancels in every ratio.
"""

from __future__ import annotations

from collections.abc import Sequence

# Over all blocks of a launch; both must be exceeded.
DRIFT = 0.01
LEVEL = 0.01
# With fewer blocks no order of them is rarer than LEVEL (2 / 5! is 0.017).
FEWEST = 6


def trend(effects: Sequence[float]) -> tuple[float, float] | None:
    """Total drift of log-effects from the first block to the last, and the p-value of its direction; None where untestable."""
    if len(effects) < FEWEST:
        return None
    from scipy import stats

    places = range(len(effects))
    slope = float(stats.theilslopes(effects, places).slope)
    p = float(stats.kendalltau(places, effects).pvalue)
    # Equal effects throughout have no tau: they do not drift.
    return slope * len(effects), 1.0 if p != p else p  # noqa: PLR0124  # NaN


def unsteady(effects: Sequence[float]) -> str | None:
    """What is wrong, in words, or None."""
    found = trend(effects)
    if found is None or abs(found[0]) <= DRIFT or found[1] >= LEVEL:
        return None
    drift, p = found
    return f"against the anchor it drifted by {drift:+.1%} over {len(effects)} blocks (Mann-Kendall p = {p:.2g})"
