"""MoD with a softmax over the chosen tokens, rebuilt: x + softmax(r) · block(x), where block(x) has its residual.

    modbench cost examples/released/kyegomez.py:build

The paper's rule: Raposo et al. 2024, arXiv:2404.02258, section 3.4: x + r · f(x), f without the residual. Facts of
the released code: github.com/kyegomez/Mixture-of-Depths at 0f04257 (`mixture_of_depths/main.py`). No code is
copied.

- k = int(capacity · T): 0 for short sequences, whose tokens all skip.
- The weights are a softmax over the k chosen scores of the row: they sum to 1, so that each is about 1 / k, and
  depends on all chosen tokens.
- Chosen tokens become x + weight · block(x), and block(x) = x + f(x): the stream is added twice.
At that commit the block gets all T tokens, so that the product with k weights fails unless k = T; here, as in
copies of it, it gets the chosen ones. The released module wraps one block; here every second one is routed. Left
out: the auxiliary loss, which writes the labels of all rows into row 0 and reads the block's output.
"""

from dense import Block, Decoder, top
from torch import nn


class Routed(nn.Module):
    def __init__(self, config, capacity):
        super().__init__()
        self.block, self.router = Block(config), nn.Linear(config.d_model, 1, bias=False)
        self.share = capacity

    def forward(self, x_BTD, position_BT, cache=None, key=None):
        k = int(self.share * x_BTD.shape[1])
        if not k:
            return x_BTD
        score_BT = self.router(x_BTD).squeeze(-1)
        index_BK = top(score_BT, k)
        weight_BK1 = score_BT.take_along_dim(index_BK, 1).softmax(1)[..., None]
        y_BKD = self.block(x_BTD.take_along_dim(index_BK[..., None], 1), position_BT.take_along_dim(index_BK, 1))
        return x_BTD.scatter_add(1, index_BK[..., None].expand_as(y_BKD), weight_BK1 * y_BKD)


class Softmax(Decoder):
    def why_no_decode(self):
        return "the released module has no rule for a single token: weights are a softmax over a whole sequence"


def build(config, capacity=0.125):
    """The model.

    Args:
        config: the suite's shape.
        capacity: share of tokens that a routed block takes.
    """
    return Softmax(
        config, [Routed(config, capacity) if number % 2 else Block(config) for number in range(config.n_layers)]
    )
