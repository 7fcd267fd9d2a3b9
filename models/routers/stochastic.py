"""Stochastic router: the top-k of Gaussian noise (Raposo et al. 2024, figure 3), the paper's control for a learned one.

Shapes: B batch, T tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from modbench.harness.core.config import ModelConfig
from modbench.models.layers.context import ForwardContext
from modbench.models.layers.router import NoiseTable, Router, normal_quantile


class Stochastic(Router):
    """Fresh noise at every training step; outside training, fixed noise for each row and position, so that runs repeat.

    The paper does not say what multiplies the block's output here. Its equation would multiply by noise, so we take 1.
    """

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.noise = NoiseTable(f"stochastic {layer}")

    def score(self, x_BTD: Tensor, ctx: ForwardContext) -> Tensor:
        """Noise [B, T], whatever the tokens are."""
        if self.training:
            return torch.randn(x_BTD.shape[:2], device=x_BTD.device)
        return self.noise(ctx.position_BT, x_BTD.shape[0])

    def selects(self, x_BTD: Tensor, r_BT: Tensor, ctx: ForwardContext) -> Tensor:
        """Noise above the quantile of a standard normal."""
        return r_BT > normal_quantile(self.capacity)


ROUTER = Stochastic
