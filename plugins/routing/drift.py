"""Drift of routing during training, at a few times, on the same held-out sequences.

Shapes: N windows, T positions, L layers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from modbench.plugins.routing.collect import watch
from modbench.plugins.routing.ngram import Array
from modbench.plugins.routing.overlap import jaccard
from modbench.plugins.routing.strata import KINDS, Tokens, kinds_of
from modbench.plugins.routing.tally import plain, ratio


class Drift:
    """Records what every look sees.

    Args:
        inputs_NT: int64 windows of held-out tokens, always the same few.
        targets_NT: the token after each.
        tokens: as `describe` takes it; only `pieces` is read.
    """

    def __init__(self, inputs_NT: Tensor, targets_NT: Tensor, tokens: Tokens) -> None:
        self._inputs_NT, self._targets_NT = inputs_NT, targets_NT
        self._kind_NT = kinds_of(inputs_NT.numpy(force=True), tokens.pieces)
        self._steps: list[int] = []
        self._losses: list[list[float | None]] = []
        self._depths: list[float | None] = []
        self._chosen: list[Tensor] = []
        self._layers: list[int] = []

    @property
    def carried(self) -> dict[str, list[Any]]:
        """Everything collected, as lists of numbers and tensors that a checkpoint can save and restore in place."""
        return {
            "drift_steps": self._steps,
            "drift_losses": self._losses,
            "drift_depths": self._depths,
            "drift_chosen": self._chosen,
            "drift_layers": self._layers,
        }

    def look(self, module: nn.Module, step: int) -> None:
        """Look after `step` training steps. Routes by top-k; leaves modes and random numbers as they were."""
        seen = watch(module, self._inputs_NT, self._targets_NT)
        n, t = seen.loss_NT.shape
        self._steps.append(step)
        self._losses.append(list(ratio(seen.loss_NT.sum(1), np.full(n, t))))
        self._depths.append(None if seen.depth_N is None else float(seen.depth_N.mean()))
        self._chosen.append(torch.from_numpy(seen.chosen_LNT.copy()))
        self._layers[:] = seen.layers

    def as_dict(self) -> dict[str, Any]:
        """Plain data, with one value per look in every list.

        Returns:
            `reason` (None, or why there is nothing), `steps`, `loss` in nats and `loss_se` (between windows), `layers`,
            `participation` (share of tokens and routed blocks), `by_kind` (kind to its shares; None where no token is of that
            kind), `n` (kind to tokens), `depth` (mean blocks of whole-input gates; None elsewhere), `overlap_with_last`
            (Jaccard of each look's selection with the last one's, mean over layers and windows), `overlap_expected` (of
            independent choices of the same sizes). The shares and overlaps are None where nothing is routed by token.
        """
        n = {kind: int((self._kind_NT == i).sum()) for i, kind in enumerate(KINDS)}
        found: dict[str, Any] = {
            "reason": None if self._steps else "the held-out loss was not measured during training (train.looks = 0)",
            "steps": self._steps,
            "loss": [mean for mean, _ in self._losses],
            "loss_se": [se for _, se in self._losses],
            "layers": list(self._layers),
            "n": n,
            "depth": self._depths if any(depth is not None for depth in self._depths) else None,
            **dict.fromkeys(("participation", "by_kind", "overlap_with_last", "overlap_expected")),
        }
        chosen: list[Array] = [each_LNT.numpy() for each_LNT in self._chosen]
        if self._layers:
            found["participation"] = [float(chosen_LNT.mean()) for chosen_LNT in chosen]
            found["by_kind"] = {
                kind: [float(chosen_LNT[:, self._kind_NT == i].mean()) if n[kind] else None for chosen_LNT in chosen]
                for i, kind in enumerate(KINDS)
            }
            pairs = [_overlap(chosen_LNT, chosen[-1]) for chosen_LNT in chosen]
            found["overlap_with_last"] = [None if pair is None else pair[0] for pair in pairs]
            found["overlap_expected"] = [None if pair is None else pair[1] for pair in pairs]
        return plain(found)


def _overlap(one_LNT: Array, other_LNT: Array) -> tuple[float, float] | None:
    pairs = [pair for one_NT, other_NT in zip(one_LNT, other_LNT, strict=True) if (pair := jaccard(one_NT, other_NT))]
    return (float(np.mean([p[0] for p in pairs])), float(np.mean([p[1] for p in pairs]))) if pairs else None
