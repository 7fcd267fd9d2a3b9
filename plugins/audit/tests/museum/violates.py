"""Models that violate one property each: what their cards must name, and nothing else."""

import math

import torch
from parts import (
    Attention,
    Block,
    Exiting,
    Experts,
    Gated,
    Masked,
    Plain,
    Routed,
    TopK,
    dense,
    mod,
    part,
    skipper,
)  # fmt: skip
from torch import nn
from torch.nn import functional as F

# What any model may do: read later tokens, other rows, padding or chance.


def enters(deviates, rule):
    """A dense model whose blocks begin with another stream: `rule(x_BTD)`."""
    model = part(Plain, body=lambda self, x_BTD, *more: Plain.body(self, rule(x_BTD), *more))
    return dense(deviates)(model)


shifted_by_one = enters("causal", lambda x_BTD: x_BTD + 0.01 * F.pad(x_BTD[:, 1:], (0, 0, 0, 1)))
statistics_of_the_batch = enters("rows_independent", lambda x_BTD: x_BTD - 0.1 * x_BTD.mean(0))
dropout_left_on = enters("deterministic", lambda x_BTD: F.dropout(x_BTD, 0.1))


scaled_by_rows = dense("alone")(part(Block, mlp=lambda self, x_BTD: Block.mlp(self, x_BTD) / len(x_BTD) ** 0.25))


# Decoding


@dense("decode")
class DecodeForgets(Attention):
    """A new token attends to the prompt and to itself; the cache keeps no new tokens."""

    def forward(self, x_BTD, at_BT, past=None):
        return super().forward(x_BTD, at_BT, list(past) if past else past)


# Training


@mod(shows="training")
class CapacityDrawn(Routed):
    """In training k is drawn anew in every call."""

    def k(self, t):
        return int(torch.randint(1, t + 1, ())) if self.training else super().k(t)


@skipper(shows="training")
class ThresholdMoves(Routed):
    """Each call in training moves the threshold by which tokens pass."""

    def __init__(self, config, share):
        super().__init__(config, share)
        self.register_buffer("moving", torch.tensor(self.threshold))

    def passes(self, r_BT):
        if self.training:
            self.moving.lerp_(r_BT.detach().flatten().quantile(1 - self.share), 0.3)
        return r_BT > self.moving


# Everything is computed, and dropped: by a product with 0 where nothing else is said.

masks_by_product = skipper(shows="zeroed")(part(Masked))
masks_of_the_top_k = mod("skips zeroed saves")(part(Masked))


@skipper(shows="zeroed")
class MasksInDecoding(Masked):
    def forward(self, x_BTD, at_BT, cache=None, causal=True):
        return (Masked if x_BTD.shape[1] == 1 else Routed).forward(self, x_BTD, at_BT, cache, causal)


@skipper(shows="zeroed training")
class MasksInTraining(Masked):
    def forward(self, x_BTD, at_BT, cache=None, causal=True):
        return (Masked if self.training else Routed).forward(self, x_BTD, at_BT, cache, causal)


@mod("mod_k mod_residual mod_stream skips zeroed saves")
class FiveFaults(Masked):
    """As a stranger might have written it: k - 1 tokens, the residual inside and outside of the block, and everything masked."""

    def k(self, t):
        return max(1, super().k(t) - 1)

    def drop(self, x_BTD, f_BTD, chosen_BT1):
        return x_BTD + chosen_BT1.to(f_BTD.dtype) * (x_BTD + f_BTD)


# Experts


@dense("zeroed moe_experts", of="moe")
class ExpertsComputeAll(Experts):
    """Every expert computes every token, and is multiplied by 0 where a token has another one."""

    def of_experts(self, x_ND, weight_N, expert_N):
        return sum((weight_N * (expert_N == i))[:, None] * self.expert(i, x_ND) for i in range(self.n_experts))


# Exits


@dense("zeroed exit_layers", of="early_exit", model=Gated)
class ExitComputesLaterBlocks(Exiting):
    """Every block computes every token, and drops what it computed of those that had left."""

    def forward(self, x_BTD, at_BT, cache, goes_on_BT):
        return torch.where(goes_on_BT[..., None], Block.forward(self, x_BTD, at_BT), x_BTD)


# Of the paper's model: how many tokens a block takes,

k_by_ceil = mod("mod_k")(part(Routed, k=lambda self, t: math.ceil(self.share * t)))
k_fixed = mod("mod_k")(part(Routed, k=lambda _, t: min(8, t)))
threshold_for_k = skipper("mod_k", of="mod")(part(Routed))


# which blocks are routed, and by which routers,

routes_every_block = mod("mod_blocks", every=1)(part(Routed))
routes_none = dense("mod_blocks skips", of="mod")(part(Block))


@mod("mod_routers")
class TwoRouters(Routed):
    def __init__(self, config, share):
        super().__init__(config, share)
        self.other = nn.Linear(config.d_model, 1, bias=False)

    def score(self, x_BTD):
        return super().score(x_BTD) + self.other(x_BTD)[..., 0]


# what the score multiplies, and its gradient,


def combines(deviates, rule, **more):
    """A chosen token becomes `rule(x, f, r)`, where the paper has x + r · f(x)."""
    return mod(deviates, **more)(part(Routed, combine=lambda _, x, f, r: rule(x, f, r)))


r_ignored = combines("mod_residual mod_gradient", lambda x, f, _: x + f)
r_sigmoid = combines("mod_residual", lambda x, f, r: x + r.sigmoid() * f)
r_straight_through = combines("mod_residual", lambda x, f, r: x + (1 + r - r.detach()) * f)
r_times_all = combines("mod_residual mod_stream", lambda x, f, r: r * (x + f))
softmax_of_the_chosen = combines("mod_residual", lambda x, f, r: x + r.softmax(1) * f, model=TopK)
residual_doubled = combines("mod_residual mod_stream", lambda x, f, r: x + (x + r * f))
residual_normed = combines("mod_residual mod_stream", lambda x, f, r: F.rms_norm(x, x.shape[-1:]) + r * f)
router_detached = combines("mod_gradient", lambda x, f, r: x + r.detach() * f)


# the stream of dense blocks and of tokens that bypass a block,

bypass_shifted = mod("mod_bypass")(part(Routed, bypass=lambda self, x_BTD: x_BTD + 1e-3 * self.norm_2.weight))

# and to whom chosen tokens attend, at which positions.

positions_halved = mod("mod_attention")(
    part(Routed, f=lambda self, x_BTD, at_BT, past=None: Routed.f(self, x_BTD, at_BT // 2, past))
)


@mod("mod_attention", model=TopK)
class AttendsToAll(Routed):
    """To all earlier tokens, skipped ones too: keys and values are computed of every token."""

    def process(self, x_BTD, at_BT, r_BT, index_Bk, past=None):
        self.all = self.attention.project(self.norm_1(x_BTD), at_BT)
        return super().process(x_BTD, at_BT, r_BT, index_Bk, past)

    def f(self, x_BTD, at_BT, past=None):
        q, _, _ = self.attention.project(self.norm_1(x_BTD), at_BT)
        _, k, v = self.all
        y_BTD = self.attention.attend(q, k, v, attn_mask=at_BT[:, None, :, None] >= torch.arange(k.shape[2]))
        return y_BTD + self.mlp(x_BTD + y_BTD)


def build(config, piece, capacity=0.25):
    return globals()[piece](config, capacity)


def unrouted(config, piece):
    return globals()[piece](config)
