"""The feed-forward half of a block: SwiGLU (Shazeer 2020), or GELU with one hidden layer.

Shapes: B batch, T tokens, D width, F hidden width.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from modbench.harness.core.config import ModelConfig
from modbench.models.layers.context import ForwardContext


class MLP(nn.Module):
    """`down(silu(gate(x)) * up(x))`, or `down(gelu(up(x)))`; no biases.

    Args:
        config: shape.
        width: hidden width F; None: `d_ff`.
    """

    def __init__(self, config: ModelConfig, width: int | None = None) -> None:
        super().__init__()
        d, f = config.d_model, config.d_ff if width is None else width
        self.gate = nn.Linear(d, f, bias=False) if config.activation == "swiglu" else None
        self.up = nn.Linear(d, f, bias=False)
        self.down = nn.Linear(f, d, bias=False)

    def forward(self, x_BTD: Tensor, ctx: ForwardContext) -> Tensor:  # noqa: ARG002  # `ExpertMLP`, which can replace this, needs it
        """[B, T, D] to [B, T, D], each token by itself."""
        # The gate is freed before `up` is computed, which then reuses its memory: one buffer less to fault in.
        hidden_BTF = F.gelu(self.up(x_BTD)) if self.gate is None else F.silu(self.gate(x_BTD)) * self.up(x_BTD)
        y_BTD: Tensor = self.down(hidden_BTF)
        return y_BTD
