"""Synthetic router: a set participation, with set correlations, so that the cost of decoding needs no trained router.

Shapes: B batch, T tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from modbench.harness.core.config import ModelConfig
from modbench.models.layers.router import NoiseTable, Router, noise, normal_quantile
from modbench.models.layers.trip import Trip


class _Correlated(NoiseTable):
    """Normal noise correlated by r between two rows and by l between two layers, at one position.

    Four independent parts, shared by all, by the rows of a layer, by the layers of a row, by nobody, with variances
    r·l, r·(1 - l), (1 - r)·l, (1 - r)·(1 - l): they add up to 1, and decisions are thresholds on the sum.
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
    """Passes a share `participation` (default: `capacity`) of tokens, blind to what they are; the multiplier is 1."""

    sees_tokens = False

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.share = self.capacity if config.participation is None else config.participation
        self.noise = _Correlated(config, layer)

    def score(self, x_BTD: Tensor, trip: Trip) -> Tensor:
        """Correlated noise [B, T]."""
        return self.noise(trip.position_BT, x_BTD.shape[0])

    def passes(self, x_BTD: Tensor, r_BT: Tensor, trip: Trip) -> Tensor:
        """Noise above the quantile of the participation."""
        if self.share in (0.0, 1.0):
            return torch.full_like(r_BT, bool(self.share), dtype=torch.bool)
        return r_BT > normal_quantile(self.share)


ROUTER = Synthetic
