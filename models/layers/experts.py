"""Expert-choice mixture of MLPs (Zhou et al. 2022): every expert takes its top-k tokens of each sequence.

Shapes: B batch, T tokens, D width, F hidden width, E experts, N tokens of one expert over the batch, k tokens of one
expert in one sequence.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modbench.harness.config import ModelConfig


class Experts(nn.Module):
    """E MLPs as stacked weights, computed in one batched product each: no loop over experts or tokens."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        e, d, f = config.n_experts, config.d_model, config.d_ff
        self.gate_EDF = nn.Parameter(torch.empty(e, d, f)) if config.activation == "swiglu" else None
        self.up_EDF = nn.Parameter(torch.empty(e, d, f))
        self.down_EFD = nn.Parameter(torch.empty(e, f, d))

    def forward(self, x_END: Tensor) -> Tensor:
        """[E, N, D] to [E, N, D], each slice by its own expert."""
        up_ENF = torch.bmm(x_END, self.up_EDF)
        hidden_ENF = F.gelu(up_ENF) if self.gate_EDF is None else F.silu(torch.bmm(x_END, self.gate_EDF)) * up_ENF
        return torch.bmm(hidden_ENF, self.down_EFD)


class ExpertChoice(nn.Module):
    """An MLP sub-layer in which experts choose tokens. A token may win several experts, or none (it then gets 0).

    With `no_op` the router scores one more expert that does nothing. It takes part in the softmax, so that a token can
    prefer to skip, and contributes exactly zero: it is never computed (MoDE integrated; paper section 3.6, figure 7).

    Args:
        config: shape.
        share: share of a sequence's tokens that each expert takes; at least one token.
        no_op: whether the router has the no-op expert as its last choice.
    """

    def __init__(self, config: ModelConfig, *, share: float, no_op: bool = False) -> None:
        super().__init__()
        self.share, self.n_experts = share, config.n_experts
        self.router = nn.Linear(config.d_model, config.n_experts + no_op, bias=False)
        self.experts = Experts(config)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]: the sum over the experts that chose the token of probability times expert output."""
        b, t, d = x_BTD.shape
        k = kept(self.share, t)
        # float32: early low-precision logits tie, and ties are broken by device.
        p_BET = self.router(x_BTD).float().softmax(dim=-1)[..., : self.n_experts].transpose(1, 2)
        p_BEk, i_BEk = p_BET.topk(k, dim=-1, sorted=False)
        row_B = torch.arange(b, device=x_BTD.device) * t
        flat_EN = (i_BEk + row_B[:, None, None]).transpose(0, 1).flatten(1)
        x_ND = x_BTD.reshape(b * t, d)
        y_END = self.experts(x_ND[flat_EN]) * p_BEk.transpose(0, 1).flatten(1)[..., None]
        return torch.zeros_like(x_ND).index_add(0, flat_EN.flatten(), y_END.flatten(0, 1).to(x_ND.dtype)).view(b, t, d)


def kept(share: float, seq_len: int) -> int:
    """How many tokens of `seq_len` a share keeps: max(1, floor(share * seq_len))."""
    # 1e-9 forgives products such as 0.29 * 100 = 28.999999999999996.
    return max(1, int(share * seq_len + 1e-9))
