"""transformers' Llama with the weights of our dense model: an independent implementation of the same function."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from modbench.harness.core.config import ModelConfig

OUTSIDE_BLOCKS = {"embedding": "model.embed_tokens", "norm": "model.norm", "head": "lm_head"}
IN_BLOCK = {
    "norm_attention": "input_layernorm",
    "attention.out": "self_attn.o_proj",
    "norm_mlp": "post_attention_layernorm",
    "mlp.gate": "mlp.gate_proj",
    "mlp.up": "mlp.up_proj",
    "mlp.down": "mlp.down_proj",
}


def named_as_llama(ours: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Weights or gradients of an untied dense model under Llama's names; the fused projection is split into three."""
    theirs = {f"{name}.weight": ours[f"{own}.weight"] for own, name in OUTSIDE_BLOCKS.items()}
    head = config.d_model // config.n_heads
    rows = [config.d_model, config.n_kv_heads * head, config.n_kv_heads * head]
    for i in range(config.n_layers):
        for own, name in IN_BLOCK.items():
            theirs[f"model.layers.{i}.{name}.weight"] = ours[f"blocks.{i}.{own}.weight"]
        parts = torch.split(ours[f"blocks.{i}.attention.qkv.weight"], rows)
        for part, weight in zip("qkv", parts, strict=True):
            theirs[f"model.layers.{i}.self_attn.{part}_proj.weight"] = weight
    return theirs


def llama(config: ModelConfig, weights: Mapping[str, Tensor] | None = None, **changes: object) -> Any:
    """transformers' `LlamaForCausalLM` of our shape, in float32 and with PyTorch's fused attention.

    Args:
        config: shape.
        weights: our weights, copied into it; None keeps its own random ones.
        changes: keys of `LlamaConfig` to change.
    """
    transformers = importlib.import_module("transformers")
    shape = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "max_position_embeddings": config.max_seq_len,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10_000.0,
        "tie_word_embeddings": False,
        "attn_implementation": "sdpa",
    }
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**shape, **changes}))
    # 4.40 sets the same attribute in another way; a fallback to slow attention would be unfair to it.
    assert model.config._attn_implementation == "sdpa"
    if weights is not None:
        model.load_state_dict(named_as_llama(weights, config))  # strict: every weight of theirs is one of ours
    return model


def logits_of(model: Any, x_BT: Tensor, **more: Tensor) -> Tensor:
    """Logits [B, T, V] of a transformers model, without a KV cache."""
    logits_BTV = model(input_ids=x_BT, use_cache=False, **more).logits
    assert isinstance(logits_BTV, Tensor)
    return logits_BTV


def tokens(b: int, t: int, vocab_size: int = 256) -> Tensor:
    """Random tokens [B, T], the same in every call."""
    return torch.randint(vocab_size, (b, t), generator=torch.Generator().manual_seed(1))


def loss(logits_BTV: Tensor, x_BT: Tensor) -> Tensor:
    """Mean cross-entropy of the next token, computed the same way for both."""
    return F.cross_entropy(logits_BTV.flatten(0, 1), x_BT.roll(-1, dims=1).flatten())
