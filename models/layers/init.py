"""Initial weights, drawn parameter by parameter, so that models of one seed start alike."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from modbench.harness.core.config import ModelConfig
from modbench.models.layers.router import Router


@torch.no_grad()
def draw_weights(module: nn.Module, config: ModelConfig) -> None:
    """Draw every parameter from its own name and torch's seed.

    Models of one seed therefore start from equal weights wherever shapes agree. A GPU draws other numbers than a CPU from
    the same seed. The residual stream starts with standard deviation 1; so does the raw router output w·x, and routed blocks
    contribute from the first step.
    """
    for name, weight in module.named_parameters():
        if weight.ndim < 2:
            nn.init.constant_(weight, 0.0 if name.endswith("bias") else 1.0)  # norms and scales start at 1
            continue
        if weight.is_meta:
            continue
        # Linear weights are [out, in]; stacked experts end in [in, out].
        fan_in = weight.shape[1] if weight.ndim == 2 else weight.shape[-2]
        std = fan_in**-0.5
        if name == "embedding.weight":
            std = config.d_model**-0.5 if config.tied else 1.0
        elif name.endswith(("attention.out.weight", "mlp.down.weight", "shared.down.weight", "down_EFD")):
            std /= (2 * config.n_layers) ** 0.5  # GPT-2's residual scaling
        digest = hashlib.sha256(f"{torch.initial_seed()} {name}".encode()).digest()
        generator = torch.Generator(weight.device).manual_seed(int.from_bytes(digest[:7], "big"))
        weight.normal_(0.0, std, generator=generator)
    for part in module.modules():
        if isinstance(part, Router):
            part.adjust_init()
