"""Models that look as if they violated a property, and do not."""

import torch
from parts import (
    Attention,
    Block,
    Exiting,
    Experts,
    Gated,
    Lengths,
    MoD,
    Plain,
    Routed,
    TopK,
    dense,
    mod,
    part,
    skipper,
)  # fmt: skip
from torch import nn
from torch.utils.checkpoint import checkpoint

plain_dense = dense()(part(Block))
plain_mod = mod(like="mod_k")(part(Routed))
plain_skipper = skipper()(part(Routed))
plain_exits = dense(of="early_exit", like="exit_layers", model=Gated)(part(Exiting))
one_expert_each = dense(of="moe", like="moe_experts")(part(Experts))

# What any model may do


@dense(like="causal")
class MeanBefore(Plain):
    """Adds to each token the mean of the tokens up to it."""

    def body(self, x_BTD, at_BT, cache, causal):
        return super().body(x_BTD + x_BTD.cumsum(1) / (at_BT[..., None] + 1), at_BT, cache, causal)


@dense(like="rows_independent")
class SortsItsRows(Plain):
    """Runs its rows in the order of their first tokens, and puts them back."""

    def forward(self, tokens_BT):
        order_B = tokens_BT[:, 0].argsort(stable=True)
        return super().forward(tokens_BT[order_B])[order_B.argsort()]


@skipper(like="deterministic", shows="training")
class GumbelInTraining(Routed):
    def passes(self, r_BT):
        noise_BT = -(-torch.rand_like(r_BT).clamp(min=1e-6).log()).log() if self.training else 0.0
        return super().passes(r_BT + noise_BT)


@mod(like="alone", model=Lengths)
class KOfRealTokens(Routed):
    """The paper's, whose k follows the real length of each padded row."""

    def forward(self, x_BTD, at_BT, cache=None, causal=True):
        if self.lengths_B is None:
            return super().forward(x_BTD, at_BT, cache, causal)
        rows = []
        for b, n in enumerate(self.lengths_B.tolist()):
            y_1nD = super().forward(x_BTD[b : b + 1, :n], at_BT[b : b + 1, :n], causal=False)
            rows.append(torch.cat([y_1nD, x_BTD[b : b + 1, n:]], 1))
        return torch.cat(rows)


@skipper(like="alone")
class ScoresInHalfPrecision(Routed):
    """Many of them are equal, and a token on the threshold may fall on either side."""

    def score(self, x_BTD):
        return super().score(x_BTD).to(torch.bfloat16).to(x_BTD.dtype)


# Decoding


class Tokens(list):
    @property
    def nbytes(self):
        return sum(each.nbytes for each in self)


@dense(like="decode")
class RecomputesInDecoding(Plain):
    """Its cache holds the tokens, and every step runs the whole sequence again: slow, and right."""

    def prefill(self, tokens_BT):
        return self(tokens_BT)[:, -1], Tokens(tokens_BT.clone().split(1, 1))

    def decode(self, tokens_B, cache):
        cache.append(tokens_B[:, None])
        return self(torch.cat(cache, 1))[:, -1]


@skipper(like="saves")
class CacheInHalfPrecision(Attention):
    """Keeps keys and values in bfloat16, over a sequence as in decoding."""

    def project(self, x_BTD, at_BT):
        q, k, v = super().project(x_BTD, at_BT)
        return q, k.to(torch.bfloat16), v.to(torch.bfloat16)

    def attend(self, q, k, v, **how):
        return super().attend(q, k.to(q.dtype), v.to(q.dtype), **how)


# Nothing that was computed is dropped


@dense(like="skips")
def weights_shared_over_depth(model):
    for i in range(1, len(model.blocks)):
        model.blocks[i] = model.blocks[0]


@dense(like="zeroed")
def last_layer_zeroed(model):
    """The output projections start at 0, as in many recipes: a block adds exact zeros."""
    for weight in (model.blocks[0].attention.out.weight, model.blocks[0].down.weight, model.blocks[0].down.bias):
        nn.init.zeros_(weight)


@skipper(like="zeroed", model=Plain)
class PadsToTheLongest(Routed):
    """Rows with fewer chosen tokens are filled up to the longest of the batch; what is computed there is set to 0."""

    def forward(self, x_BTD, at_BT, cache=None, causal=True):
        r_BT = self.score(x_BTD)
        mask_BT = self.passes(r_BT)
        count_B = mask_BT.sum(1)
        index_Bk = mask_BT.int().argsort(dim=1, descending=True, stable=True)[:, : int(count_B.max())]
        if not index_Bk.numel():
            return x_BTD
        valid_Bk1 = (torch.arange(index_Bk.shape[1]) < count_B[:, None])[..., None]
        wide_BkD = index_Bk[..., None].expand(-1, -1, x_BTD.shape[-1])
        f_BkD = self.f(x_BTD.gather(1, wide_BkD), at_BT.gather(1, index_Bk))
        f_BkD = (r_BT.gather(1, index_Bk)[..., None] * f_BkD).masked_fill(~valid_Bk1, 0.0)
        return x_BTD.scatter_add(1, wide_BkD, f_BkD)


# Training


@mod(like="training")
class Checkpointed(Routed):
    """In training each routed block is computed again in the backward pass."""

    def f(self, x_BTD, at_BT, past=None):
        if self.training and past is None:
            return checkpoint(super().f, x_BTD, at_BT, use_reentrant=False)
        return super().f(x_BTD, at_BT, past)


# The paper's model, written otherwise: its blocks,


@mod(like="mod_blocks")
def routes_even_blocks(model):
    for i in range(0, len(model.blocks), 2):
        model.blocks[i], model.blocks[i + 1] = model.blocks[i + 1], model.blocks[i]


# its routers,


@mod(like="mod_routers")
class RoutersInOneMatrix(MoD):
    def __init__(self, config, blocks):
        super().__init__(config, blocks)
        routed = self.blocks[1::2]
        self.routers_DR = nn.Parameter(torch.randn(config.d_model, len(routed)) * config.d_model**-0.5)
        for i, block in enumerate(routed):
            block.router = None
            block.score = lambda x_BTD, i=i: x_BTD @ self.routers_DR[:, i]


router_reads_a_copy = mod(like="mod_gradient")(
    part(Routed, score=lambda self, x_BTD: Routed.score(self, x_BTD.detach()))
)
score_scaled = mod(like="mod_residual")(part(Routed, score=lambda self, x_BTD: 0.5 * Routed.score(self, x_BTD)))


# the stream,


@mod(like="mod_stream")
class EmbeddingsDoubled(MoD):
    def body(self, x_BTD, at_BT, cache, causal):
        return super().body(2.0 * x_BTD, at_BT, cache, causal)


@mod(like="mod_bypass")
class WritesInPlace(Routed):
    """Where nothing is to be differentiated, chosen tokens are written into the stream that the block was given."""

    def process(self, x_BTD, at_BT, r_BT, index_Bk, past=None):
        y_BTD = super().process(x_BTD, at_BT, r_BT, index_Bk, past)
        return y_BTD if torch.is_grad_enabled() else x_BTD.copy_(y_BTD)


# and its attention.


@mod(like="mod_attention", model=TopK)
class DistancesInsteadOfPositions(Attention):
    """Attention is lowered with the distance of two tokens (ALiBi, Press et al. 2022)."""

    def forward(self, x_BTD, at_BT, past=None):
        q, k, v = self.project(x_BTD, 0 * at_BT)
        far_B1TT = (at_BT[:, :, None] - at_BT[:, None])[:, None]
        bias_B1TT = (-0.1 * far_B1TT).masked_fill(far_B1TT < 0, float("-inf"))
        return self.attend(q, k, v, attn_mask=bias_B1TT)


def build(config, piece, capacity=0.25):
    return globals()[piece](config, capacity)


def unrouted(config, piece):
    return globals()[piece](config)
