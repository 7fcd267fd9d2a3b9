"""Overlap of two selections: Jaccard's index, and its expectation for independent choices of the same sizes.

Shapes: N windows, T positions, L layers.
"""

from __future__ import annotations

import functools

import numpy as np
from scipy import special

from modbench.plugins.routing.ngram import Array


@functools.cache
def expected_jaccard(a: int, b: int, t: int) -> float:
    """Mean of (in both) / (in either) for independent, uniform choices of a and b of t places."""
    shared = np.arange(max(0, a + b - t), min(a, b) + 1)
    # Hypergeometric, by logarithms of binomial coefficients: those of long windows are beyond all floats.
    chance = np.exp(_log_choose(a, shared) + _log_choose(t - a, b - shared) - _log_choose(t, b))
    return float((chance * shared / (a + b - shared)).sum())


def _log_choose(n: int, k_n: Array | int) -> Array:
    return np.asarray(-special.betaln(1 + n - k_n, 1 + k_n) - np.log1p(n))


def jaccard(one_NT: Array, other_NT: Array) -> tuple[float, float] | None:
    """Mean over windows of (in both) / (in either), and its mean for independent choices; None if both are always empty."""
    found, chance = [], []
    for one_T, other_T in zip(one_NT, other_NT, strict=True):
        a, b, both = int(one_T.sum()), int(other_T.sum()), int((one_T & other_T).sum())
        if a + b:
            found.append(both / (a + b - both))
            chance.append(expected_jaccard(a, b, len(one_T)))
    return (float(np.mean(found)), float(np.mean(chance))) if found else None


def between_layers(chosen_LNT: Array) -> tuple[list[list[float | None]], list[list[float | None]]]:
    """Matrices [L, L] of the index between every two layers, and of its expectation. The diagonal is 1 by definition."""
    layers = range(len(chosen_LNT))
    pairs = [[jaccard(chosen_LNT[i], chosen_LNT[j]) for j in layers] for i in layers]
    return [[None if p is None else p[0] for p in row] for row in pairs], [
        [1.0 if i == j else None if p is None else p[1] for j, p in enumerate(row)] for i, row in enumerate(pairs)
    ]
