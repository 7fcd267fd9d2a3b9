"""SkipGPT, rebuilt: each block has a gate per token for attention and one for the MLP, with noise in evaluation.

    modbench cost examples/released/skipgpt.py:build

Source: Zhao et al. 2025, arXiv:2506.04179, its section on the method. Facts of the released code:
github.com/EIT-NLP/SkipGPT at 1ac6141 (`router_attn_mlp.py`) and 9adf879 (`main.py`, `custom_trainer.py`). No code
is copied.

- Both gates read the input of the block: a hidden layer of a quarter of the width, ReLU, two logits (run, skip).
  The paper's router is linear.
- Each is a hard sample of a Gumbel softmax, in evaluation too: the same call twice differs. Training falls from
  temperature 5 to 1, which changes the gradient alone.
- Every token is computed, then multiplied by 0 or 1. Skipped tokens keep their keys and values.
- Training adds 20 · |1 - sparsity - mean share that runs|.
`noise=False` decides by the larger logit in evaluation.
"""

import torch
from dense import Block, Decoder
from torch import nn
from torch.nn import functional as F


class Gate(nn.Module):
    """Whether each token runs, 0 or 1: [B, T, D] to [B, T, 1]."""

    def __init__(self, width, noise):
        super().__init__()
        self.noise, self.temperature = noise, 1.0
        self.hidden, self.logits = nn.Linear(width, width // 4), nn.Linear(width // 4, 2)

    def forward(self, x_BTD):
        logits_BT2 = self.logits(self.hidden(x_BTD).relu())
        if self.training or self.noise:
            temperature = self.temperature if self.training else 1.0
            self.runs_BT1 = F.gumbel_softmax(logits_BT2, tau=temperature, hard=True)[..., :1]
        else:
            self.runs_BT1 = (logits_BT2[..., :1] >= logits_BT2[..., 1:]).to(x_BTD.dtype)
        return self.runs_BT1


class Skipping(Block):
    def __init__(self, config, noise):
        super().__init__(config)
        self.gate_attention, self.gate_mlp = Gate(config.d_model, noise), Gate(config.d_model, noise)

    def forward(self, x_BTD, position_BT, cache=None, key=None):
        runs_attention_BT1, runs_mlp_BT1 = self.gate_attention(x_BTD), self.gate_mlp(x_BTD)
        y_BTD = x_BTD + runs_attention_BT1 * self.attention(self.norm_attention(x_BTD), position_BT, cache, key)
        return y_BTD + runs_mlp_BT1 * self.mlp(self.norm_mlp(y_BTD))


class SkipGPT(Decoder):
    def __init__(self, config, blocks, sparsity):
        super().__init__(config, blocks)
        self.sparsity = sparsity
        self.gates = [gate for block in blocks for gate in (block.gate_attention, block.gate_mlp)]

    def set_progress(self, done):
        for gate in self.gates:
            gate.temperature = 5.0 - 4.0 * done

    def aux_loss(self):
        share = torch.stack([gate.runs_BT1.mean() for gate in self.gates]).mean()
        return 20 * (1 - self.sparsity - share).abs()


def build(config, noise=True, sparsity=0.2):
    """The model.

    Args:
        config: the suite's shape.
        noise: whether gates are sampled in evaluation too, as in the released code.
        sparsity: share of gates that training aims to close.
    """
    return SkipGPT(config, [Skipping(config, noise) for _ in range(config.n_layers)], sparsity)
