"""The norm of a residual stream: RMSNorm (Zhang & Sennrich 2019), or LayerNorm (Ba et al. 2016) with scale and shift."""

from __future__ import annotations

from torch import nn

from modbench.harness.core.config import ModelConfig


def norm_of(config: ModelConfig) -> nn.Module:
    """The norm that the configuration names, over the model's width."""
    if config.norm == "layer":
        return nn.LayerNorm(config.d_model, eps=1e-5)
    return nn.RMSNorm(config.d_model, eps=1e-6)
