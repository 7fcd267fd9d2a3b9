"""Sums over the tokens of a stratum, with standard errors that use windows, not tokens, as the unit of evidence.

Shapes: N windows, T positions, L layers, K bins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from modbench.plugins.routing.collect import Watched
from modbench.plugins.routing.ngram import Array
from modbench.plugins.routing.strata import Stratum

DIGITS = 6
# Of a histogram.
BINS = 32


def by_bin(stratum: Stratum, seen: Watched, causal: Watched | None) -> list[dict[str, Any]]:
    """The rows of `describe` for every bin of a stratum."""
    k, layers = len(stratum.labels), len(seen.layers)
    n_NK = _sums(stratum.bin_NT, np.ones(stratum.bin_NT.shape), k)
    passed_LNK = np.stack([_sums(stratum.bin_NT, chosen_NT, k) for chosen_NT in seen.chosen_LNT]) if layers else None
    loss_NK, square_NK = (_sums(stratum.bin_NT, seen.loss_NT**power, k) for power in (1, 2))
    causal_NK = None if causal is None else _sums(stratum.bin_NT, causal.loss_NT, k)
    entropy_NK = _sums(stratum.bin_NT, seen.entropy_NT, k)
    rows: list[dict[str, Any]] = []
    for i, label in enumerate(stratum.labels):
        n_N = n_NK[:, i]
        row: dict[str, Any] = {"label": label, "n": int(n_N.sum()), "windows": int((n_N > 0).sum())}
        if stratum.ranges is not None:
            row["low"], row["high"] = stratum.ranges[i]
        if passed_LNK is not None:
            passes_N = passed_LNK[:, :, i].sum(0)
            row["passes"] = int(passes_N.sum())
            row["passes_by_layer"] = [int(each) for each in passed_LNK[:, :, i].sum(1)]
            row["share"], row["share_se"] = ratio(passes_N, n_N * layers)
        row["loss_sum"], row["loss_squares"] = float(loss_NK[:, i].sum()), float(square_NK[:, i].sum())
        row["loss"], row["loss_se"] = ratio(loss_NK[:, i], n_N)
        row["entropy"], row["entropy_se"] = ratio(entropy_NK[:, i], n_N)
        if causal_NK is not None:
            row["loss_causal_sum"] = float(causal_NK[:, i].sum())
            row["loss_causal"], row["loss_causal_se"] = ratio(causal_NK[:, i], n_N)
        rows.append(row)
    return rows


def _sums(bin_NT: Array, values_NT: Array, k: int) -> Array:
    """Sums [N, K] of the values by window and bin."""
    n = len(bin_NT)
    place_NT = np.arange(n)[:, None] * k + bin_NT
    return np.bincount(place_NT.ravel(), weights=values_NT.ravel(), minlength=n * k).reshape(n, k)


def ratio(above_N: Array, below_N: Array) -> tuple[float | None, float | None]:
    """Ratio of two sums, and its standard error between windows (linearised; each window a cluster); None where undefined."""
    inside = below_N > 0
    total, windows = float(below_N.sum()), int(inside.sum())
    if not windows:
        return None, None
    value = float(above_N.sum()) / total
    if windows < 2:
        return value, None
    rest_N = (above_N - value * below_N)[inside]
    return value, math.sqrt(windows / (windows - 1) * float((rest_N**2).sum())) / total


def confusion(chosen: Array, predicted: Array) -> dict[str, Any]:
    """Scores of a prediction of the chosen tokens; None for those that are undefined.

    `base_rate` is the accuracy of the better of two constant predictions, "none passes" and "all pass".
    """
    tp, fp = int((chosen & predicted).sum()), int((~chosen & predicted).sum())
    fn, tn = int((chosen & ~predicted).sum()), int((~chosen & ~predicted).sum())
    n, real, claimed = tp + fp + fn + tn, tp + fn, tp + fp
    recall, rejected = _share(tp, real), _share(tn, n - real)
    return {
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "tn": tn,
        "accuracy": _share(tp + tn, n),
        "balanced_accuracy": None if recall is None or rejected is None else (recall + rejected) / 2,
        "precision": _share(tp, claimed),
        "recall": recall,
        "f1": _share(2 * tp, real + claimed),
        "base_rate": _share(max(real, n - real), n),
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def histogram(values_NT: Array, chosen_NT: Array) -> dict[str, Any]:
    """Counts of all and of the chosen values in equal bins over the middle 99.8 %; values outside go to the outer bins."""
    low, high = (float(end) for end in np.quantile(values_NT, (0.001, 0.999)))
    if not low < high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, BINS + 1)
    inside_NT = np.clip(values_NT, low, high)
    both = {"all": inside_NT.ravel(), "passed": inside_NT[chosen_NT]}
    counts = {name: [int(count) for count in np.histogram(each, edges)[0]] for name, each in both.items()}
    return {"edges": edges.tolist(), **counts}


def plain(found: Mapping[Any, object]) -> dict[str, Any]:
    """A copy for JSON: numbers of numpy as Python's, floats with six digits, None for what is not finite."""
    return {str(key): _plain(value) for key, value in found.items()}


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return plain(value)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float | np.floating):
        return float(f"{float(value):.{DIGITS}g}") if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
