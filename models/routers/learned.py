"""Learned router: one linear projection per routed block scores every token (Raposo et al. 2024, section 3.4).

The paper leaves open whether the score multiplies raw or through a sigmoid (`multiplier`) and how it is initialised
(`router_init`). It gives two ways to route without later tokens (`causal`); a third is a threshold on the scores.

Shapes: B batch, T tokens, D width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modbench.harness.core.config import ModelConfig
from modbench.models.layers.context import ForwardContext
from modbench.models.layers.router import Router, Threshold, normal_quantile, own_precision


class Learned(Router):
    """r = w·x multiplies the block's output, so that w gets a gradient from the language-model loss."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.has_loss = config.causal in {"predictor", "aux_loss"}
        self.weight = nn.Linear(config.d_model, 1, bias=False)
        self.predictor = None
        if config.causal == "predictor":
            self.predictor = nn.Sequential(
                nn.Linear(config.d_model, config.predictor_width), nn.SiLU(), nn.Linear(config.predictor_width, 1)
            )
        self.threshold = None
        if config.causal == "threshold":
            # Scores start normal with standard deviation router_init: the quantile is known before any text is seen.
            self.threshold = Threshold(config.router_init * normal_quantile(self.capacity))

    @property
    def predicts_top_k(self) -> bool:
        """Unless it has no causal rule at all."""
        return self.config.causal != "none"

    @torch.no_grad()
    def adjust_init(self) -> None:
        """Scale the scores; start the predictor at the base rate."""
        self.weight.weight.mul_(self.config.router_init)
        if self.predictor is not None:
            base = min(max(self.capacity, 0.01), 0.99)
            self.predictor[2].get_parameter("bias").fill_(math.log(base / (1 - base)))

    def score(self, x_BTD: Tensor, ctx: ForwardContext) -> Tensor:
        """Router weights [B, T]."""
        return own_precision(self.weight, x_BTD).squeeze(-1)

    def multiplier(self, r_BT: Tensor) -> Tensor:
        """The score itself, or its sigmoid."""
        return r_BT.sigmoid() if self.config.multiplier == "sigmoid" else r_BT

    def _predict(self, x_BTD: Tensor) -> Tensor:
        """Logits of being in the top-k. The input is detached: this loss does not reach the rest of the model."""
        assert self.predictor is not None
        first, activation, last = self.predictor
        assert isinstance(last, nn.Linear)
        return own_precision(last, activation(first(x_BTD.detach()))).squeeze(-1)

    def selects(self, x_BTD: Tensor, r_BT: Tensor, ctx: ForwardContext) -> Tensor:
        """Where the sigmoid of the predictor or score is above one half, or the score is above the threshold."""
        if self.config.causal == "predictor":
            return self._predict(x_BTD) > 0
        if self.config.causal == "aux_loss":
            return r_BT > 0
        if self.threshold is None:
            raise ValueError(
                "causal='none': this model has no causal router, so it cannot generate or route without later tokens. "
                "Build it with causal='predictor', 'aux_loss' or 'threshold'."
            )
        return r_BT > self.threshold.value

    def loss(self, x_BTD: Tensor, r_BT: Tensor, chosen_BT: Tensor, real_BT: Tensor | None) -> Tensor:
        """Cross-entropy of the predictor, or of the score, with membership in the top-k (paper, section 3.5)."""
        logit_BT = r_BT if self.predictor is None else self._predict(x_BTD)
        loss_BT = F.binary_cross_entropy_with_logits(logit_BT, chosen_BT.float(), reduction="none")
        # A sum, not an index by mask, whose size the host would have to wait for.
        mean = loss_BT.mean() if real_BT is None else loss_BT.where(real_BT, 0).sum() / real_BT.sum()
        return self.config.aux_weight * mean

    def calibrate(self, r_BT: Tensor, real_BT: Tensor | None) -> None:
        """Set the threshold to pass `capacity` of these scores."""
        if self.threshold is not None:
            self.threshold.set(r_BT.flatten() if real_BT is None else r_BT[real_BT], self.capacity)


ROUTER = Learned
