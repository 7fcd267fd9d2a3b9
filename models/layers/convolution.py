"""Dynamic convolution (Wu et al. 2019, arXiv 1901.10430): each token mixes the last tokens with weights that it predicts.

Shapes: B batch, T tokens, D width, H heads, d a head's width, W kernel size.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from modbench.harness.core.config import ModelConfig
from modbench.models.layers.context import ForwardContext


class DynamicConvolution(nn.Module):
    """Gated values, one softmax-normalised kernel per token and head, an output projection: linear in T.

    Causal, or centred where the model is bidirectional. It cannot decode: a routed block would have to keep the last W
    inputs of each row, which is not implemented.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_heads, self.size = config.n_heads, config.kernel_size
        self.ahead = (config.kernel_size - 1) // 2 if config.bidirectional else 0
        self.value = nn.Linear(config.d_model, 2 * config.d_model, bias=False)
        self.kernel = nn.Linear(config.d_model, config.n_heads * config.kernel_size, bias=False)
        self.out = nn.Linear(config.d_model, config.d_model, bias=False)

    def forward(self, x_BTD: Tensor, ctx: ForwardContext, cache: object = None) -> Tensor:
        """[B, T, D] to [B, T, D]; in a routed block the neighbours are the other selected tokens."""
        assert cache is None
        v_BTD = F.glu(self.value(x_BTD), dim=-1)
        real_BT = ctx.real_BT
        if real_BT is not None:
            v_BTD = v_BTD * real_BT[..., None]
        kernel_BTHW = self.kernel(x_BTD).unflatten(-1, (self.n_heads, self.size)).softmax(dim=-1)
        padded = F.pad(v_BTD, (0, 0, self.size - 1 - self.ahead, self.ahead)).unflatten(-1, (self.n_heads, -1))
        y_BTHd1 = padded.unfold(1, self.size, 1) @ kernel_BTHW[..., None]
        y_BTD: Tensor = self.out(y_BTHd1.flatten(2))
        return y_BTD
