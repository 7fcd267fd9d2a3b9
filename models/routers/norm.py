"""Norm router: selects the tokens with the largest activations; nothing is learned. A control for the learned router.

Shapes: B batch, T tokens, D width.
"""

from __future__ import annotations

from torch import Tensor

from modbench.harness.core.config import ModelConfig
from modbench.models.layers.context import ForwardContext
from modbench.models.layers.router import Router, Threshold


class Norm(Router):
    """Score = root mean square of the token's residual stream; the block's output is not multiplied."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.threshold = Threshold(None)

    @property
    def predicts_top_k(self) -> bool:
        """Once the threshold is calibrated."""
        return self.threshold.is_set

    def score(self, x_BTD: Tensor, ctx: ForwardContext) -> Tensor:
        """Scores [B, T]."""
        return x_BTD.float().square().mean(-1).sqrt()

    def selects(self, x_BTD: Tensor, r_BT: Tensor, ctx: ForwardContext) -> Tensor:
        """Above the calibrated threshold."""
        if not self.threshold.is_set:
            raise ValueError("this router has no threshold yet: call model.calibrate(tokens) with some typical text")
        return r_BT > self.threshold.value

    def calibrate(self, r_BT: Tensor, real_BT: Tensor | None) -> None:
        """Set the threshold to pass `capacity` of these scores."""
        self.threshold.set(r_BT.flatten() if real_BT is None else r_BT[real_BT], self.capacity)


ROUTER = Norm
