"""MoD as the package mixture-of-depth has it, rebuilt: k - 1 tokens, and r · (x + f(x)) instead of x + r · f(x).

    modbench cost examples/released/astramind.py:build

The paper's rule: Raposo et al. 2024, arXiv:2404.02258, section 3.4: the k highest scores r, x + r · f(x). Facts of
the released code: PyPI `mixture-of-depth` 1.2.0, `MoD/MoD.py` (github.com/astramind-ai/Mixture-of-depths,
Apache-2.0). No code is copied.

- Every second block is routed, from the second on. k = max(1, int(capacity · T)).
- Tokens with a score *above* the k-th pass, so k - 1 do; where k is 1, the best one does.
- A chosen token becomes r · (x + f(x)): the router's score scales the stream too. Others stay as they are.
- Chosen tokens attend to each other, with their own positions.
- In training capacity is 1/8 + 7/8 / n at the n-th call, whoever calls; after 1,000 calls n grows by 999 at each.
  Evaluation keeps the last value, and a fresh model has 1/8.
- No predictor: a prompt is routed by its own top-k, and of one decoded token the first is always taken.
Left out: rows are computed one after another there, and a batch's rows are stored behind each other in one cache,
so that it can generate for one row alone; here they are computed together, each with its own keys.
"""

from dense import Block, Decoder
from torch import nn


class Routed(nn.Module):
    def __init__(self, config, capacity):
        super().__init__()
        self.block, self.router = Block(config), nn.Linear(config.d_model, 1)
        self.floor = self.share = capacity
        self.calls = 0

    def choose(self, score_BT):
        """Indices [B, K] of the tokens above the k-th score, or of the best one where k is 1; ties apart."""
        k = max(1, int(self.share * score_BT.shape[1]))
        return score_BT.topk(k, 1).indices[:, : max(1, k - 1)].sort(1).values

    def forward(self, x_BTD, position_BT, cache=None, key=None):
        if self.training:
            self.calls += 1 if self.calls < 1000 else 999
            self.share = self.floor + (1 - self.floor) / self.calls
        score_BT = self.router(x_BTD).squeeze(-1)
        index_BK = self.choose(score_BT)
        inside_BKD = x_BTD.take_along_dim(index_BK[..., None], 1)
        y_BKD = self.block(inside_BKD, position_BT.take_along_dim(index_BK, 1), cache, key)
        y_BKD = score_BT.take_along_dim(index_BK, 1)[..., None] * y_BKD
        return x_BTD.scatter(1, index_BK[..., None].expand_as(y_BKD), y_BKD)


def build(config, capacity=0.125):
    """The model.

    Args:
        config: the suite's shape.
        capacity: share of tokens that a routed block is meant to take.
    """
    return Decoder(
        config, [Routed(config, capacity) if number % 2 else Block(config) for number in range(config.n_layers)]
    )
