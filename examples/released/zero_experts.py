"""Zero experts (LongCat-Flash), rebuilt: tokens choose experts, some of which return their input and compute nothing.

    modbench cost examples/released/zero_experts.py:build

Source: Meituan LongCat Team 2025, arXiv:2509.01322, section 2.1 (zero-computation experts, budget control). Facts
of the released code: transformers 5.24, module `longcat_flash` (Apache-2.0), which `examples/rivals/longcat.py`
runs. No code is copied.

- Scores are a softmax over real and zero experts. The top `top_k` of score + bias are chosen; the bias changes the
  choice, not the weight.
- The output is the sum of weight · expert(x), where a zero expert returns x, and weight = score · `scale`. Weights
  are not normalised to 1.
- A controller moves the bias of each real expert after a training step, by rate · (share it should have - share it
  had), so that `real_experts` of the `top_k` are real on average. Zero experts have no bias.
- Only chosen tokens enter a real expert; a token decides for itself, so it is causal and does not depend on other
  rows.
Left out: two attentions and a dense MLP beside the experts in each layer, latent attention, the loss that balances
devices.
"""

import torch
from dense import Block, Decoder, Mlp
from torch import nn


class Experts(nn.Module):
    """Tokens [B, T, D] to [B, T, D]."""

    def __init__(self, config, experts, zero_experts, top_k, scale):
        super().__init__()
        self.top_k, self.scale = top_k, scale
        self.router = nn.Linear(config.d_model, experts + zero_experts, bias=False)
        self.experts = nn.ModuleList(Mlp(config.d_model, max(8, config.d_ff // 2)) for _ in range(experts))
        self.register_buffer("bias", torch.zeros(experts + zero_experts))

    def forward(self, x_BTD):
        x_ND = x_BTD.flatten(0, 1)
        score_NE = self.router(x_ND).softmax(-1)
        chosen_NK = (score_NE + self.bias).topk(self.top_k, -1).indices
        weight_NK = score_NE.take_along_dim(chosen_NK, 1) * self.scale
        self.counts = chosen_NK.flatten().bincount(minlength=score_NE.shape[1])
        zero_NK = chosen_NK >= len(self.experts)
        y_ND = (weight_NK * zero_NK).sum(1, keepdim=True) * x_ND
        for number, expert in enumerate(self.experts):
            row_R, place_R = (chosen_NK == number).nonzero(as_tuple=True)
            if len(row_R):
                y_ND = y_ND.index_add(0, row_R, weight_NK[row_R, place_R, None] * expert(x_ND[row_R]))
        return y_ND.view_as(x_BTD)


class ZeroExperts(Decoder):
    def __init__(self, config, blocks, real_experts, rate):
        super().__init__(config, blocks)
        self.real_experts, self.rate = real_experts, rate

    def after_step(self):
        for block in self.blocks:
            part, n = block.mlp, len(block.mlp.experts)
            share_E = part.counts[:n] / part.counts.sum()
            part.bias[:n] += self.rate * (self.real_experts / part.top_k / n - share_E)


def build(config, experts=4, zero_experts=2, top_k=2, real_experts=None, scale=1.0, rate=0.01):
    """The model.

    Args:
        config: the suite's shape.
        experts: experts that compute.
        zero_experts: experts that return their input.
        top_k: experts that each token gets, of both kinds.
        real_experts: how many of them should be real on average; None: their share among all.
        scale: factor of the weights.
        rate: how fast the bias moves.
    """
    blocks = [Block(config) for _ in range(config.n_layers)]
    for block in blocks:
        block.mlp = Experts(config, experts, zero_experts, top_k, scale)
    real = top_k * experts / (experts + zero_experts) if real_experts is None else real_experts
    return ZeroExperts(config, blocks, real, rate)
