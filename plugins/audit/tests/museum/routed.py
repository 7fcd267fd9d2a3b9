"""What the pieces change: every second block processes some tokens, and the others bypass it (Raposo et al. 2024).

`MoD.forward` takes the top-k of each sequence. With `causal=True`, and in decoding, a token is taken if its score is above a
threshold. A `skipper` always decides so, and is causal. Dimensions: as in `small.py`, k chosen tokens.
"""

import torch
from small import Block, Dense, Plain
from torch import nn


class Routed(Block):
    def __init__(self, config, share):
        super().__init__(config)
        self.share, self.router = share, nn.Linear(config.d_model, 1, bias=False)
        nn.init.normal_(self.router.weight, std=config.d_model**-0.5)  # scores are about normal, of deviation 1
        self.threshold = float(torch.special.ndtri(torch.tensor(1.0 - share)))

    def new_cache(self, rows):
        return [[] for _ in range(rows)]

    def score(self, x_BTD):
        return self.router(x_BTD)[..., 0]

    def passes(self, r_BT):
        return r_BT > self.threshold

    def k(self, t):
        return max(1, int(self.share * t + 1e-9))

    def top_k(self, r_BT):
        return r_BT.topk(self.k(r_BT.shape[1])).indices.sort().values

    def combine(self, x_BkD, f_BkD, r_Bk):
        return x_BkD + r_Bk[..., None] * f_BkD

    def process(self, x_BTD, at_BT, r_BT, index_Bk, past=None):
        if not index_Bk.numel():
            return x_BTD
        wide_BkD = index_Bk[..., None].expand(-1, -1, x_BTD.shape[-1])
        x_BkD = x_BTD.gather(1, wide_BkD)
        f_BkD = self.f(x_BkD, at_BT.gather(1, index_Bk), past)
        return x_BTD.scatter(1, wide_BkD, self.combine(x_BkD, f_BkD, r_BT.gather(1, index_Bk)))

    def forward(self, x_BTD, at_BT, cache=None, causal=True):
        r_BT = self.score(x_BTD)
        if not causal:
            return self.process(x_BTD, at_BT, r_BT, self.top_k(r_BT))
        rows = []
        for b, mask_T in enumerate(self.passes(r_BT)):  # rows process different numbers of tokens
            this, past = slice(b, b + 1), None if cache is None else cache[b]
            rows.append(self.process(x_BTD[this], at_BT[this], r_BT[this], mask_T.nonzero().T, past))
        return torch.cat(rows)


class MoD(Dense):
    def forward(self, tokens_BT, causal=False):
        return self.run(tokens_BT, causal=causal)


class TopK(Plain):  # the same, without a rule that is causal, and without decoding
    def forward(self, tokens_BT):
        return self.run(tokens_BT, causal=False)


def mod(config, capacity, routed=Routed, model=MoD, block=Block, every=2):
    layers = range(1, config.n_layers + 1)
    return model(config, [routed(config, capacity) if i % every == 0 else block(config) for i in layers])


def skipper(config, capacity, routed=Routed, model=Dense):
    return mod(config, capacity, routed, model)
