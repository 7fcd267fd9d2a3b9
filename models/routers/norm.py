"""Norm router: the tokens of largest activation pass; nothing is learned. A control for what the learned router adds.

Shapes: B batch, T tokens, D width.
"""

from __future__ import annotations

from torch import Tensor

from modbench.harness.core.config import ModelConfig
from modbench.models.layers.router import Router, Threshold
from modbench.models.layers.trip import Trip


class Norm(Router):
    """Score = root mean square of the token's residual stream; the block's output is taken as it is."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.threshold = Threshold(None)

    @property
    def foretells(self) -> bool:
        """Once a threshold was calibrated."""
        return self.threshold.known

    def score(self, x_BTD: Tensor, trip: Trip) -> Tensor:
        """Scores [B, T]."""
        return x_BTD.float().square().mean(-1).sqrt()

    def passes(self, x_BTD: Tensor, r_BT: Tensor, trip: Trip) -> Tensor:
        """Above the calibrated threshold."""
        self.threshold.ready()
        return r_BT > self.threshold.value

    def calibrate(self, r_BT: Tensor, real_BT: Tensor | None) -> None:
        """Set the threshold."""
        self.threshold.set(r_BT.flatten() if real_BT is None else r_BT[real_BT], self.capacity)


ROUTER = Norm
