"""Mixture-of-Recursions, rebuilt: the same blocks run several times, each time for the top-k of those that ran before.

    modbench cost examples/released/mor.py:build

Source: Bae et al. 2025, arXiv:2507.10524, section 2.2.1 (expert-choice routing), section 4.1 (middle-cycle
sharing). Facts of the released code: github.com/raymin0223/mixture_of_recursions at 82c97f2
(`model/mor_model/expert_choice_router.py`). No code is copied.

- The first and the last block are their own; those between are shared by all recursions.
- Recursion r of N takes the top k = max(1, int(c·T)) of the tokens that recursion r - 1 took, with c = (N - r + 1)
  / N. The first takes all.
- A router per recursion: gate = 0.1 · sigmoid(score). Taken tokens become x + gate · Block(x), and Block(x) has its
  own residual, so that the stream itself is added once more, scaled; also those of the first recursion, which takes
  all.
- Taken tokens attend to each other, with their own positions. A token that is left out once stays out.
- Training adds 0.001 times the cross-entropy of sigmoid(score) with being taken, over the living tokens.
- Evaluation takes the top-k as well. The released code has no inference (its issues 9 and 10), and none is invented
  here.
Left out: sharing keys of the first recursion (there all tokens are computed, then gathered), a falling capacity in
training, the z-loss.
"""

import torch
from dense import Block, Decoder, top
from torch import nn
from torch.nn import functional as F


class Recursion(nn.Module):
    """One turn: the stream [B, T, D] and the living tokens [B, K] to the stream and the tokens that it took."""

    def __init__(self, config, shared, share, scale):
        super().__init__()
        self.router, self.shared = nn.Linear(config.d_model, 1, bias=False), shared
        self.share, self.scale = share, scale

    def forward(self, x_BTD, position_BT, living_BK):
        score_BK = self.router(x_BTD.take_along_dim(living_BK[..., None], 1)).squeeze(-1)
        chosen_BK = top(score_BK, max(1, int(self.share * x_BTD.shape[1])))
        taken_BK = torch.zeros_like(score_BK).scatter(1, chosen_BK, 1)
        self.loss = F.binary_cross_entropy_with_logits(score_BK, taken_BK)
        gate_BK1 = self.scale * score_BK.take_along_dim(chosen_BK, 1).sigmoid()[..., None]
        living_BK = living_BK.take_along_dim(chosen_BK, 1)
        y_BKD = x_BTD.take_along_dim(living_BK[..., None], 1)
        for block in self.shared:
            y_BKD = block(y_BKD, position_BT.take_along_dim(living_BK, 1))
        return x_BTD.scatter_add(1, living_BK[..., None].expand_as(y_BKD), gate_BK1 * y_BKD), living_BK


class MoR(Decoder):
    def body(self, x_BTD, position_BT, cache):
        first, *recursions, last = self.blocks
        x_BTD, living_BK = first(x_BTD, position_BT), torch.arange(x_BTD.shape[1], device=x_BTD.device)
        living_BK = living_BK.expand_as(position_BT)
        for recursion in recursions:
            x_BTD, living_BK = recursion(x_BTD, position_BT, living_BK)
        return last(x_BTD, position_BT)

    def aux_loss(self):
        return 0.001 * torch.stack([recursion.loss for recursion in self.blocks[1:-1]]).sum()

    def why_no_decode(self):
        return "the released code has no inference: which tokens are taken is known from the whole sequence alone"


def build(config, recursions=2, scale=0.1):
    """The model; unrolled it is as deep as the suite's shape, if recursions divide the blocks between first and last.

    Args:
        config: the suite's shape.
        recursions: how often the shared blocks run.
        scale: factor of the sigmoid in the gate.
    """
    shared = nn.ModuleList(Block(config) for _ in range(max(1, (config.n_layers - 2) // recursions)))
    turns = [Recursion(config, shared, (recursions - turn) / recursions, scale) for turn in range(recursions)]
    return MoR(config, [Block(config), *turns, Block(config)])
