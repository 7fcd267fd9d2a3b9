"""Synthetic router: a given participation with given correlations, to measure decoding without a trained router.

Shapes: B batch, T tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from modbench.harness.core.config import ModelConfig
from modbench.models.layers.context import ForwardContext
from modbench.models.layers.router import NoiseTable, Router, noise, normal_quantile


class _Correlated(NoiseTable):
    """Normal noise at one position, with correlation r between two rows and l between two layers.

    The sum of four independent parts: common to all, to the rows of a layer, to the layers of a row, and to none. Their
    variances r·l, r·(1 - l), (1 - r)·l, (1 - r)·(1 - l) add up to 1; decisions are thresholds on the sum.
    """

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__(f"synthetic {layer}")
        self.row, self.layer = config.row_correlation, config.layer_correlation

    def values(self, rows: int) -> Tensor:
        r, l, positions = self.row, self.layer, self.POSITIONS
        values: Tensor = (
            (r * l) ** 0.5 * noise(1, positions, "synthetic")
            + (r * (1 - l)) ** 0.5 * noise(1, positions, f"{self.name} of all rows")
            + ((1 - r) * l) ** 0.5 * noise(rows, positions, "synthetic of all layers")
            + ((1 - r) * (1 - l)) ** 0.5 * noise(rows, positions, self.name)
        )
        return values


class Synthetic(Router):
    """Selects a share `participation` (default: `capacity`) of the tokens, whatever they are; the multiplier is 1."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.share = self.capacity if config.participation is None else config.participation
        self.noise = _Correlated(config, layer)

    def score(self, x_BTD: Tensor, ctx: ForwardContext) -> Tensor:
        """Correlated noise [B, T]."""
        return self.noise(ctx.position_BT, x_BTD.shape[0])

    def selects(self, x_BTD: Tensor, r_BT: Tensor, ctx: ForwardContext) -> Tensor:
        """Noise above the quantile of the participation."""
        if self.share in (0.0, 1.0):
            return torch.full_like(r_BT, bool(self.share), dtype=torch.bool)
        return r_BT > normal_quantile(self.share)


ROUTER = Synthetic
