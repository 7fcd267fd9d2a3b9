"""Learned router: one linear projection per routed block scores every token (paper, section 3.4).

Shapes: B batch, T tokens, D width, k chosen tokens.
"""

from __future__ import annotations

from torch import Tensor, nn

from modbench.harness.config import ModelConfig


class Learned(nn.Module):
    """r = w·x. The raw score multiplies the block's output, which puts w on the loss's gradient path."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.weight = nn.Linear(config.d_model, 1, bias=False)

    def score(self, x_BTD: Tensor) -> Tensor:
        """Router weights [B, T] in float32: early low-precision scores tie, and ties are broken by device."""
        return self.weight(x_BTD).squeeze(-1).float()  # type: ignore[no-any-return]  # torch types calls as Any

    def select(self, r_BT: Tensor, k: int) -> Tensor:
        """Indices [B, k] of each sequence's k highest scores in ascending order, so that causal stays causal."""
        return r_BT.topk(k, dim=-1, sorted=False).indices.sort(dim=-1).values


ROUTER = Learned
