"""Router-Tuning, rebuilt: a gate per layer decides for a sequence; the layer is computed, then multiplied by 0 or 1.

    modbench cost examples/released/router_tuning.py:build

Source: He et al. 2024, "Router-Tuning: A Simple and Effective Approach for Enabling Dynamic-Depth in Transformers",
arXiv:2410.13184, its section on the method. Facts of the released code:
github.com/CASE-Lab-UMD/Router-Tuning-Mixture-of-Depths at 6f7ad04 (`utils/model/model_patch.py`,
`entrypoints/finetune/finetune_router_tuning.py`). No code is copied.

- The router reads the normed stream, averaged over all tokens of the sequence (`level="sequence"`), later ones
  included; in decoding it reads the new token alone, so that it decides anew at each step. The gate is open where
  sigmoid(score) >= 0.5.
- The gate is straight-through in training: 0 or 1 forward, the gradient of the sigmoid backward.
- The last `layers` layers but the very last one are gated (all but the last where it is None).
- Keys and values of closed rows are computed and stored.
- With a target, training adds relu(share of open gates - target) · scale for each gated layer. The code has no
  default for either.
Left out: only routers are trained there, on a finished model.
"""

import torch
from dense import Block, Decoder
from torch import nn


class Gated(Block):
    """A block whose attention, MLP or whole is multiplied by the gate."""

    def __init__(self, config, part, level, threshold):
        super().__init__(config)
        self.part, self.level, self.threshold = part, level, threshold
        self.router = nn.Linear(config.d_model, 1, bias=False)

    def gate(self, x_BTD):
        """0 or 1 for each row [B, 1, 1], or for each token [B, T, 1]."""
        read = x_BTD if self.level == "token" else x_BTD.mean(1, keepdim=True)
        soft = self.router(read).sigmoid()
        hard = (soft >= self.threshold).to(soft.dtype)
        self.open = hard + (soft - soft.detach())
        return self.open

    def forward(self, x_BTD, position_BT, cache=None, key=None):
        normed_BTD = self.norm_attention(x_BTD)
        gate = self.gate(normed_BTD)
        y_BTD = x_BTD + (gate if self.part == "attention" else 1) * self.attention(normed_BTD, position_BT, cache, key)
        y_BTD = y_BTD + (gate if self.part == "mlp" else 1) * self.mlp(self.norm_mlp(y_BTD))
        return x_BTD + gate * (y_BTD - x_BTD) if self.part == "block" else y_BTD


class RouterTuning(Decoder):
    def __init__(self, config, blocks, target, scale):
        super().__init__(config, blocks)
        self.target, self.scale = target, scale

    def aux_loss(self):
        gated = [block for block in self.blocks if isinstance(block, Gated)]
        if self.target is None or not gated:
            return self.head.weight.new_zeros(())
        return torch.stack([(block.open.mean() - self.target).relu() * self.scale for block in gated]).sum()


def build(config, part="attention", level="sequence", layers=None, threshold=0.5, target=None, scale=1.0):
    """The model.

    Args:
        config: the suite's shape.
        part: what the gate multiplies: `attention`, `mlp` or `block`.
        level: whether each `sequence` or each `token` has a gate.
        layers: how many layers are gated; None: all but the last.
        threshold: the gate is open where the sigmoid is at least this.
        target: share of open gates above which training pays; None: no such loss.
        scale: its weight.
    """
    last = config.n_layers - 1
    first = 0 if layers is None else last - layers
    blocks = [
        Gated(config, part, level, threshold) if first <= number < last else Block(config)
        for number in range(config.n_layers)
    ]
    return RouterTuning(config, blocks, target, scale)
