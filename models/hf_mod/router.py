"""The router of a converted layer: one projection, a threshold and a predictor for routing without later tokens.

A pretrained stream has tokens whose norm is a thousand times that of others. The router therefore reads it at unit RMS, so that
one initialisation and one learning rate serve every layer of every model. The multiplier is 2·sigmoid(score): 1 at a score of 0,
so a fresh router neither scales the layer up nor down, and always between 0 and 2.

Shapes: B batch, T tokens, D width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modbench.models.hf_mod.options import MoDOptions
from modbench.models.layers.router import Threshold, own_precision


class TokenRouter(nn.Module):
    """Scores tokens; its parts stay in float32.

    Args:
        width: of the stream.
        options: capacity and initialisation.
    """

    def __init__(self, width: int, options: MoDOptions) -> None:
        super().__init__()
        self.options = options
        self.score_weight = nn.Linear(width, 1, bias=False)
        self.hidden = nn.Linear(width, options.predictor_width)
        self.logit = nn.Linear(options.predictor_width, 1)
        self.threshold = Threshold(None)
        self._was_set = False

    @torch.no_grad()
    def reset(self, generator: torch.Generator | None = None) -> None:
        """Draw the weights: scores have standard deviation `router_init`, the predictor starts at the base rate."""
        width = self.score_weight.in_features
        self.score_weight.weight.normal_(std=self.options.router_init / math.sqrt(width), generator=generator)
        self.hidden.weight.normal_(std=1 / math.sqrt(width), generator=generator)
        self.hidden.bias.zero_()
        self.logit.weight.normal_(std=1 / math.sqrt(self.logit.in_features), generator=generator)
        base = min(max(self.options.capacity, 0.01), 0.99)
        self.logit.bias.fill_(math.log(base / (1 - base)))
        self.threshold.value.fill_(math.nan)
        self._was_set = False

    def score(self, x_BTD: Tensor) -> Tensor:
        """Scores [B, T], float32."""
        return own_precision(self.score_weight, unit(x_BTD)).squeeze(-1)

    @staticmethod
    def multiplier(r_BT: Tensor) -> Tensor:
        """What the layer's change is multiplied by, between 0 and 2."""
        return 2 * r_BT.sigmoid()

    def predict(self, x_BTD: Tensor) -> Tensor:
        """Logits [B, T] of being in the top-k. The input is detached: this loss reaches nothing but the predictor."""
        return own_precision(self.logit, F.silu(own_precision(self.hidden, unit(x_BTD.detach())))).squeeze(-1)

    def selects(self, x_BTD: Tensor, r_BT: Tensor, rule: str) -> Tensor:
        """True [B, T] where the layer processes the token, by a rule that reads no later one.

        Raises:
            ValueError: if the threshold was never calibrated.
        """
        if self.options.capacity >= 1:
            return torch.ones_like(r_BT, dtype=torch.bool)
        if rule == "predictor":
            return self.predict(x_BTD) > 0
        if not self._was_set:
            # Read once: a threshold of NaN would skip every token and say nothing.
            if bool(self.threshold.value.isnan()):
                raise ValueError(
                    "this router has no threshold yet: call model.calibrate(tokens) with some typical text, or route by "
                    "the predictor with model.route_by('predictor')"
                )
            self._was_set = True
        return r_BT > self.threshold.value

    def loss(self, x_BTD: Tensor, chosen_BT: Tensor, real_BT: Tensor | None) -> Tensor:
        """Cross-entropy of the predictor with membership in the top-k (Raposo et al. 2024, section 3.5)."""
        loss_BT = F.binary_cross_entropy_with_logits(self.predict(x_BTD), chosen_BT.float(), reduction="none")
        return loss_BT.mean() if real_BT is None else loss_BT.where(real_BT, 0).sum() / real_BT.sum().clamp(min=1)

    def calibrate(self, r_BT: Tensor, real_BT: Tensor | None) -> None:
        """Set the threshold that a share `capacity` of these scores lies above."""
        self.threshold.set(r_BT.flatten() if real_BT is None else r_BT[real_BT], self.options.capacity)
        self._was_set = False


def unit(x_BTD: Tensor) -> Tensor:
    """The stream in float32, each token scaled to a root mean square of 1."""
    x_BTD = x_BTD.float()
    return x_BTD * torch.rsqrt(x_BTD.square().mean(-1, keepdim=True) + 1e-12)
