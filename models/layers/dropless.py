"""Experts over as many tokens as chose them: pairs of token and expert, sorted by expert; nothing is dropped or padded.

Shapes: N tokens, k choices of a token, S = N k, P pairs of a token and a real expert, D width, E experts, X all choices.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from modbench.models.layers.experts import Experts
from modbench.models.layers.span import span


def weighted_sum(experts: Experts, x_ND: Tensor, weight_NX: Tensor, choice_Nk: Tensor, counts: list[int]) -> Tensor:
    """For each token the sum of weight times expert output over the real experts that it chose: [N, D].

    Args:
        experts: the E experts.
        x_ND: tokens.
        weight_NX: what each choice weighs.
        choice_Nk: what each token chose; numbers from E on are no real expert.
        counts: how many tokens chose each expert.
    """
    choice_S, k = choice_Nk.flatten(), choice_Nk.shape[1]
    place_P = choice_S.argsort(stable=True)[: sum(counts)]  # no real expert: behind all that are
    token_P = place_P // k
    at_P = token_P * weight_NX.shape[1] + choice_S.index_select(0, place_P)
    with span("gather"):
        x_PD = x_ND.index_select(0, token_P)
    with span("experts"):
        y_PD = _each(experts, x_PD, counts) * weight_NX.flatten().index_select(0, at_P)[:, None]
    with span("scatter"):
        return torch.zeros_like(x_ND).index_add_(0, token_P, y_PD.to(x_ND.dtype))


def _each(experts: Experts, x_PD: Tensor, counts: list[int]) -> Tensor:
    """Each expert over its rows. One without rows is called too: its gradient is 0 and not missing, as ranks need it."""
    ups, downs = experts.up_EDF.unbind(), experts.down_EFD.unbind()
    gates = [None] * len(ups) if experts.gate_EDF is None else experts.gate_EDF.unbind()
    pieces = []
    for x, gate, up, down in zip(x_PD.split(counts), gates, ups, downs, strict=True):
        hidden = F.gelu(x @ up) if gate is None else F.silu(x @ gate) * (x @ up)
        pieces.append(hidden @ down)
    return torch.cat(pieces)
