"""Depth chosen by whole-input gates, by the prompt's length and difficulty.

Shapes: N windows, T positions, P prompts, B rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from modbench.harness.routing.collect import device_of, undisturbed
from modbench.harness.routing.decisions import observe
from modbench.harness.routing.ngram import Array
from modbench.harness.routing.strata import quarters
from modbench.harness.routing.tally import ratio

LENGTHS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)
ROWS = 32


def depths(module: nn.Module, inputs_NT: Tensor, hard_NT: Array, depth_N: Array) -> dict[str, Any]:
    """Measure mean depth in blocks: of the windows as they are scored, and of prompts of several lengths cut from them.

    The gate reads each prompt whole. Its difficulty is the mean n-gram surprisal of the tokens to predict, in
    nats, in quarters of the prompts of that length.
    """
    n, t = inputs_NT.shape
    by_length = []
    for length in [each for each in LENGTHS if each <= t]:
        fits = t // length * length
        prompts_PT = inputs_NT[:, :fits].reshape(-1, length)
        hard_P = hard_NT[:, :fits].reshape(-1, length).mean(1)
        depth_NP = _depth_of(module, prompts_PT).reshape(n, -1)
        mean, se = ratio(depth_NP.sum(1), np.full(n, depth_NP.shape[1]))
        row: dict[str, Any] = {"length": length, "n": len(prompts_PT), "depth": mean, "depth_se": se}
        stratum = quarters("difficulty", "nat", hard_P.reshape(n, -1))
        row["by_difficulty"] = [
            _of_bin(label, ends, depth_NP, stratum.bin_NT == i)
            for i, (label, ends) in enumerate(zip(stratum.labels, stratum.ranges or (), strict=True))
        ]
        by_length.append(row)
    values, counts = np.unique(depth_N, return_counts=True)
    config = getattr(module, "config", None)
    return {
        "blocks": getattr(config, "n_layers", None),
        "depth": float(depth_N.mean()),
        "depth_sd": float(depth_N.std(ddof=1)) if n > 1 else None,
        "windows": [{"depth": int(depth), "n": int(count)} for depth, count in zip(values, counts, strict=True)],
        "by_length": by_length,
    }


def _depth_of(module: nn.Module, prompts_PT: Tensor) -> Array:
    device, found = device_of(module), list[int]()
    with undisturbed(module):
        for prompts_BT in prompts_PT.split(ROWS):
            whole_B = torch.full((len(prompts_BT),), prompts_BT.shape[1], device=device)
            depth_B = observe(module, prompts_BT.to(device), prompt_B=whole_B).depth_B
            assert depth_B is not None, "only modules whose gate chose a depth come here"
            found += depth_B
    return np.array(found, dtype=float)


def _of_bin(label: str, ends: tuple[float, float], depth_NP: Array, inside_NP: Array) -> dict[str, Any]:
    mean, se = ratio((depth_NP * inside_NP).sum(1), inside_NP.sum(1))
    return {
        "label": label,
        "low": ends[0],
        "high": ends[1],
        "n": int(inside_NP.sum()),
        "depth": mean,
        "depth_se": se,
    }
