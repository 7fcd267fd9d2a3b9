"""Norm router: selects the tokens with the largest activations; nothing is learned. A control for the learned router.

Shapes: B batch, T tokens, D width.
"""

from __future__ import annotations

from torch import Tensor

from modbench.models.layers.context import ForwardContext
from modbench.models.layers.router import Calibrated


class Norm(Calibrated):
    """Score = root mean square of the token's residual stream; the block's output is not multiplied."""

    def score(self, x_BTD: Tensor, ctx: ForwardContext) -> Tensor:
        """Scores [B, T]."""
        return x_BTD.float().square().mean(-1).sqrt()


ROUTER = Norm
