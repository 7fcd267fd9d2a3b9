"""Closed-form cost of the families that are our dense model with biases or norms: Llama, Qwen 2 and 3, SmolLM, GPT-2.

Biases and norms count 0 FLOPs, so only parameters differ. Memory is not computed here: their code keeps other tensors than ours,
and fake tensors forecast it exactly.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.contracts import Cost, DecodeCost
from modbench.models.hf.shape import model_type, raw_config
from modbench.models.hf.spec import Found, Spec


def cost(spec: Spec, found: Found, config: ModelConfig, seq_len: int, batch_size: int) -> Cost | None:
    """Cost of a case; None for a model that is not of these families, or whose config makes it another."""
    more = _more_params(spec, found, config)
    if more is None:
        return None
    from modbench.models import dense

    made = dense.cost(config, seq_len, batch_size)
    return replace(made, params=made.params + more, modules={})


def decode_cost(spec: Spec, found: Found, config: ModelConfig, context: int, batch_size: int) -> DecodeCost | None:
    """Elements that one decode step reads, and keys and values after the context; None as for `cost`."""
    if _more_params(spec, found, config) is None:
        return None
    from modbench.models import dense

    return dense.decode_cost(config, context, batch_size)


def _more_params(spec: Spec, found: Found, config: ModelConfig) -> int | None:
    """Parameters beyond those of our dense model of the same shape; None if it is not such a model."""
    kind = model_type(spec, found)
    data: dict[str, Any] = {}
    if found.kind in {"folder", "config"} and found.config_file is not None:
        data = raw_config(spec, found.config_file)
    d, a, kv = config.d_model, config.attention_width, config.kv_width
    if data.get("use_sliding_window"):
        return None
    if kind == "gpt2":
        if data.get("add_cross_attention"):
            return None
        return config.n_layers * (3 * d + d + config.d_ff + d)
    per_layer = 0
    if kind == "llama":
        per_layer += (a + 2 * kv + d) * bool(data.get("attention_bias")) + (2 * config.d_ff + d) * bool(
            data.get("mlp_bias")
        )
    elif kind == "qwen2":
        per_layer += a + 2 * kv
    elif kind == "qwen3":
        per_layer += 2 * config.head_dim + (a + 2 * kv + d) * bool(data.get("attention_bias"))
    else:
        return None
    return config.n_layers * per_layer
