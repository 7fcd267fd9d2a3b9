"""Shared by models that choose a depth for a whole input: what a gate may read, how a choice is trained, and what it costs.

In a causal language model a gate may read only the prompt. From the prompt's last position on, logits come from the depth
that the gate chose; earlier positions, whose next token the gate has read, get their logits from the depth that every input
runs. So no logit depends on a later token. A classifier's gate reads the whole input.

Shapes: B batch, T tokens, D width, N choices.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.contracts import Amount, Layer
from modbench.models.layers.context import ForwardContext


def prompt_lengths(ctx: ForwardContext, config: ModelConfig) -> Tensor:
    """Tokens [1 or B] of each row that the gate may read."""
    t = ctx.position_BT.shape[1]
    if config.bidirectional:
        return torch.full((1,), t, device=ctx.position_BT.device) if ctx.lengths_B is None else ctx.lengths_B
    prompt = torch.full((1,), min(config.gate_tokens, t), device=ctx.position_BT.device)
    if ctx.prompt_B is not None:
        prompt = ctx.prompt_B
    return prompt if ctx.lengths_B is None else torch.minimum(prompt, ctx.lengths_B)


def mean_over_prompt(x_BTD: Tensor, prompt_B: Tensor) -> Tensor:
    """Mean [B, D] over the prompt."""
    inside_BT = torch.arange(x_BTD.shape[1], device=x_BTD.device) < prompt_B[:, None]
    return (x_BTD * inside_BT[..., None]).sum(1) / prompt_B[:, None]


def combine_depths(
    shallow_BTD: Tensor, deep_BTD: Tensor, ctx: ForwardContext, prompt_B: Tensor, config: ModelConfig
) -> Tensor:
    """The shallow stream inside the prompt, the deep one from its last token on; a classifier has only the deep one."""
    if config.bidirectional:
        return deep_BTD
    inside_BT = ctx.position_BT < prompt_B[:, None] - 1
    return torch.where(inside_BT[..., None], shallow_BTD, deep_BTD)


def choose(logits_BN: Tensor, config: ModelConfig) -> tuple[Tensor, Tensor]:
    """One-hot choices [B, N] for training, and the probabilities [B, N].

    Straight-through: choices are hard in the forward pass, soft in the backward pass. With `gate = "gumbel"` noise is added to
    the logits, so that choices are samples (Jang et al. 2017).
    """
    p_BN = logits_BN.float().softmax(-1)
    noisy = logits_BN.float()
    if config.gate == "gumbel":
        noisy = noisy - torch.empty_like(noisy).exponential_().log()
    soft_BN = noisy.softmax(-1)
    hard_BN = (soft_BN.argmax(-1, keepdim=True) == torch.arange(soft_BN.shape[-1], device=soft_BN.device)).float()
    return hard_BN + soft_BN - soft_BN.detach(), p_BN


def forced_logits(choice: int, n: int, x_BTD: Tensor) -> Tensor:
    """Logits [B, N] that make every row choose `choice`."""
    return ((torch.arange(n, device=x_BTD.device) == choice) * 1e4).expand(x_BTD.shape[0], -1)


def depth_loss(p_BN: Tensor, depth_N: Tensor, config: ModelConfig) -> Tensor:
    """Squared distance of the mean share of blocks from `depth_ratio`."""
    mean = (p_BN * depth_N).sum(-1).mean() / config.n_layers
    return config.depth_weight * (mean - config.depth_ratio) ** 2


class Buckets(NamedTuple):
    """A batch sorted by depth, deepest first: each block runs the first rows only, and skipped blocks cost nothing.

    Attributes:
        order_B: rows of the batch in that order.
        back_B: the inverse permutation.
        order: the same on the host.
        counts: rows that run each block.
        depths: blocks that each row of the batch runs.
    """

    order_B: Tensor
    back_B: Tensor
    order: list[int]
    counts: list[int]
    depths: list[int]


def bucket(depth_B: Tensor, n_layers: int) -> Buckets:
    """Sort rows by depth. Synchronises once."""
    order_B = depth_B.argsort(descending=True, stable=True)
    depths = depth_B.tolist()
    counts = [sum(depth > layer for depth in depths) for layer in range(n_layers)]
    order = sorted(range(len(depths)), key=lambda row: -depths[row])  # stable, as on the device
    return Buckets(order_B, order_B.argsort(), order, counts, depths)


def switched_memory(config: ModelConfig, tokens: float) -> Layer:
    """A block whose output is multiplied by a gate: the gate's gradient needs that output."""
    return Layer(Amount(config.d_model) * tokens, back=Amount(2 * config.d_model) * tokens)
