"""MoD with the gate on the MLP alone, rebuilt: x + (x + attention + sigmoid(r) · MLP), the residual twice.

    modbench cost examples/released/sramshetty.py:build

The paper's rule: Raposo et al. 2024, arXiv:2404.02258, section 3.4: x + r · f(x), where f is attention and MLP.
Facts of the released code: github.com/sramshetty/mixture-of-depths at 34ef5cc
(`mixture_of_depths/routing_transformer.py`). No code is copied.

- Every second block is routed, from the second on, all by one router.
- k tokens pass, where k is a number, 1/8 of the length that the model is made for, and not a share of the sequence
  at hand. Here the length at hand stands for it, unless `tokens` gives the number.
- The weight sigmoid(r) multiplies the MLP's output alone; attention is added as it is.
- The block's output, its residual included, is added to the stream: a chosen token holds x twice.
- Chosen tokens attend to each other with positions 0 to k - 1, in place of their own.
At that commit places among the top k are taken for tokens, which picks tokens 0 to k - 1 (its issue 5, mended for
training since); here the top k are meant. Left out: generation, which serves one row, always runs a single token,
and attends to empty keys of skipped ones.
"""

import torch
from dense import Block, Decoder, top
from torch import nn


class GatedMlp(Block):
    def __init__(self, config, router, tokens):
        super().__init__(config)
        self.router, self.tokens = router, tokens

    def forward(self, x_BTD, position_BT, cache=None, key=None):
        t = x_BTD.shape[1]
        score_BT = self.router(x_BTD).squeeze(-1)
        index_BK = top(score_BT, min(t, self.tokens or max(1, t // 8)))
        weight_BK1 = score_BT.take_along_dim(index_BK, 1).sigmoid()[..., None]
        rank_BK = torch.arange(index_BK.shape[1], device=x_BTD.device).expand_as(index_BK)
        y_BKD = x_BTD.take_along_dim(index_BK[..., None], 1)
        y_BKD = y_BKD + self.attention(self.norm_attention(y_BKD), rank_BK)
        y_BKD = y_BKD + weight_BK1 * self.mlp(self.norm_mlp(y_BKD))
        return x_BTD.scatter_add(1, index_BK[..., None].expand_as(y_BKD), y_BKD)


class OneRouter(Decoder):
    def why_no_decode(self):
        return "the released generation is not rebuilt: it serves one row, and stores empty keys of skipped tokens"


def build(config, tokens=None):
    """The model.

    Args:
        config: the suite's shape.
        tokens: how many tokens of each row pass a routed block; None: 1/8 of the row, at least 1.
    """
    router = nn.Linear(config.d_model, 1, bias=False)
    blocks = [GatedMlp(config, router, tokens) if number % 2 else Block(config) for number in range(config.n_layers)]
    return OneRouter(config, blocks)
