"""Rank correlation, with an interval that allows for the dependence of values of one window.

Shapes: n values, R resamples, G windows.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from modbench.extend import t_quantile
from modbench.plugins.routing.ngram import Array

RESAMPLES = 1000
FEWEST_VALUES, FEWEST_WINDOWS = 6, 4


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation.

    Attributes:
        rho: from -1 to 1; None where undefined.
        low: lower end of the 95 % interval; None where undefined.
        high: upper end.
        n: values.
        windows: number of windows that the values come from.
        reason: why rho or the interval is missing.
    """

    rho: float | None
    low: float | None
    high: float | None
    n: int
    windows: int
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def rank_correlation(x_n: Array, y_n: Array, group_n: Array, window_n: Array, seed: int = 0) -> Correlation:
    """Spearman's correlation of ranks taken within each group, groups pooled, with a bootstrap over windows.

    Whole windows are resampled, and ranked anew (percentile interval): values of one window are not independent.
    With few windows such an interval is somewhat too short.

    Args:
        x_n: one side.
        y_n: the other.
        group_n: values are ranked among those of the same group, such as their layer; an int for each.
        window_n: the window of each value.
        seed: of the resampling.
    """
    n, (_, at_n) = len(x_n), np.unique(window_n, return_inverse=True)
    windows = int(at_n.max()) + 1 if n else 0
    if n < FEWEST_VALUES:
        return Correlation(None, None, None, n, windows, f"{n} values: a correlation needs {FEWEST_VALUES}")
    below = [_below(np.asarray(side, dtype=float), np.asarray(group_n)) for side in (x_n, y_n)]
    same_nn = (np.asarray(group_n)[:, None] == np.asarray(group_n)[None]).astype(float)
    rho = float(_weighted(np.ones((1, n)), below, same_nn)[0])
    if not math.isfinite(rho):
        return Correlation(None, None, None, n, windows, "one side is the same everywhere")
    if windows < FEWEST_WINDOWS:
        return Correlation(
            rho, None, None, n, windows, f"{windows} held-out sequences: an interval needs {FEWEST_WINDOWS}"
        )
    drawn_RG = np.random.default_rng(seed).multinomial(windows, np.full(windows, 1 / windows), RESAMPLES)
    found_R = _weighted(drawn_RG[:, at_n].astype(float), below, same_nn)
    low, high = np.nanquantile(found_R, (0.025, 0.975))
    return Correlation(rho, float(low), float(high), n, windows)


def _below(x_n: Array, group_n: Array) -> Array:
    """Matrix [i, j]: 1 where j is in i's group and lower, one half where equal."""
    less_nn = (x_n[None] < x_n[:, None]) + 0.5 * (x_n[None] == x_n[:, None])
    return np.asarray(less_nn * (group_n[None] == group_n[:, None]))


def _weighted(weight_Rn: Array, below: list[Array], same_nn: Array) -> Array:
    """Pearson's correlation [R] of the mid-ranks of a sample in which value i occurs weight_i times."""
    of_group_Rn = np.maximum(weight_Rn @ same_nn, 1)
    x_Rn, y_Rn = (weight_Rn @ each.T / of_group_Rn for each in below)
    total_R = weight_Rn.sum(1, keepdims=True)
    x_Rn, y_Rn = (each - (weight_Rn * each).sum(1, keepdims=True) / total_R for each in (x_Rn, y_Rn))
    both_R, xx_R, yy_R = ((weight_Rn * a * b).sum(1) for a, b in ((x_Rn, y_Rn), (x_Rn, x_Rn), (y_Rn, y_Rn)))
    flat_R = (xx_R < 1e-12) | (yy_R < 1e-12)
    return np.where(flat_R, np.nan, both_R / np.sqrt(np.where(flat_R, 1, xx_R * yy_R)))


def _mid_ranks(x_T: Array) -> Array:
    """Ranks from 1; equal values share the mean of theirs."""
    ordered_T = np.sort(x_T)
    first_T, past_T = (np.searchsorted(ordered_T, x_T, side) for side in ("left", "right"))
    return np.asarray((first_T + past_T + 1) / 2)


def within_windows(x_NT: Array, y_NT: Array) -> Correlation:
    """Mean over windows of Spearman's correlation inside each, with a t-interval over windows."""
    x_NT, y_NT = (np.array([_mid_ranks(row_T) for row_T in side]) for side in (x_NT, y_NT))
    x_NT, y_NT = (side - side.mean(1, keepdims=True) for side in (x_NT, y_NT))
    scale_N = np.sqrt((x_NT**2).sum(1) * (y_NT**2).sum(1))
    rho_N = ((x_NT * y_NT).sum(1) / np.where(scale_N > 0, scale_N, 1))[scale_N > 0]
    windows = len(rho_N)
    if not windows:
        return Correlation(None, None, None, 0, 0, "one side is the same everywhere")
    n, rho = windows * x_NT.shape[1], float(rho_N.mean())
    if windows < FEWEST_WINDOWS:
        return Correlation(
            rho, None, None, n, windows, f"{windows} held-out sequences: an interval needs {FEWEST_WINDOWS}"
        )
    half = t_quantile(0.975, windows) * float(rho_N.std(ddof=1)) / math.sqrt(windows)
    return Correlation(rho, rho - half, rho + half, n, windows)
