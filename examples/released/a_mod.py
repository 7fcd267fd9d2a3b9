"""A-MoD, rebuilt: no router, each routed block takes the tokens that received most attention in the block before it.

    modbench cost examples/released/a_mod.py:build

Source: Gadhikar et al. 2024, "Attention Is All You Need For Mixture-of-Depths Routing", arXiv:2412.20875, its
section on the method, for vision transformers. No code of the authors is known; none of others is copied.

- Every second block is routed. The score of a token is the attention that it receives in the block before, averaged
  over heads and queries.
- The top k = max(1, floor(capacity · T)) pass the block and become x + f(x); nothing is multiplied. The others stay
  as they are.
- Chosen tokens attend to each other, with their own positions.
In a causal model a token is seen by later ones alone, and the first queries share their attention among few tokens:
the mean would nearly always take the first tokens. So attention counts relative to that of a query that attends
equally, over the queries that see the token; where all see all, as in the paper, this is the mean times a constant.
`relative=False` takes the plain mean. Either score is non-causal, and decoding has no such rule.
"""

import torch
from dense import Attention, Block, Decoder, top
from torch import nn
from torch.nn import functional as F


class Scoring(Attention):
    """Causal attention by an explicit map, which leaves the attention that each token received: mean, and relative."""

    def forward(self, x_BTD, position_BT, cache=None, key=None):
        q_BHTd, k_BHTd, v_BHTd = self.project(x_BTD, position_BT)
        repeat = q_BHTd.shape[1] // k_BHTd.shape[1]
        k_BHTd, v_BHTd = k_BHTd.repeat_interleave(repeat, 1), v_BHTd.repeat_interleave(repeat, 1)
        logits_BHTT = q_BHTd @ k_BHTd.mT / self.head_dim**0.5
        future_TT = torch.ones_like(logits_BHTT[0, 0], dtype=torch.bool).triu(1)
        map_BHTT = F.softmax(logits_BHTT.masked_fill(future_TT, float("-inf")), dim=-1)
        count_T1 = torch.arange(1, x_BTD.shape[1] + 1, device=x_BTD.device)[:, None]
        score_BTT = map_BHTT.detach().mean(1)
        self.received_BT = score_BTT.mean(1)
        self.relative_BT = (count_T1 * score_BTT).sum(1) / count_T1.flatten().flip(0)
        return self.out((map_BHTT @ v_BHTd).transpose(1, 2).flatten(2))


class Routed(nn.Module):
    """A block for the tokens that received most attention before: `before` is the attention of the block before it."""

    def __init__(self, config, before, capacity, relative):
        super().__init__()
        self.block, self.share, self.relative = Block(config), capacity, relative
        self.before = (before,)  # in a tuple, since its weights belong to the other block

    def forward(self, x_BTD, position_BT, cache=None, key=None):
        score_BT = self.before[0].relative_BT if self.relative else self.before[0].received_BT
        index_BK = top(score_BT, max(1, int(self.share * x_BTD.shape[1])))
        y_BKD = self.block(x_BTD.take_along_dim(index_BK[..., None], 1), position_BT.take_along_dim(index_BK, 1))
        return x_BTD.scatter(1, index_BK[..., None].expand_as(y_BKD), y_BKD)


class AMoD(Decoder):
    def why_no_decode(self):
        return "the score of a token is the attention of later ones, which a decoded token has not received yet"


def build(config, capacity=0.5, relative=True):
    """The model.

    Args:
        config: the suite's shape.
        capacity: share of tokens that a routed block takes.
        relative: whether attention counts relative to that of queries that attend equally; else the plain mean.
    """
    blocks = []
    for number in range(config.n_layers):
        if number % 2:
            blocks[-1].attention = Scoring(config)
            blocks.append(Routed(config, blocks[-1].attention, capacity, relative))
        else:
            blocks.append(Block(config))
    return AMoD(config, blocks)
