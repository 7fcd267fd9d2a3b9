"""Our dense model against an independent implementation of the same function: transformers' Llama with our weights."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from present import of_type
from toolbox import config, grads, tokens
from torch import Tensor, nn
from torch.nn import functional as F

from modbench.harness.core.config import ModelConfig
from modbench.models.dense import Dense

pytest.importorskip("transformers")

HEADS = pytest.mark.parametrize("n_kv_heads", [4, 2], ids=["full heads", "grouped queries"])
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


def llama(ours: Dense, **changes: object) -> Any:
    """transformers' `LlamaForCausalLM` with our weights, and other keys of `LlamaConfig`."""
    transformers, config = importlib.import_module("transformers"), ours.config
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
    }
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**shape, **changes}))
    model.load_state_dict(named_as_llama(ours.state_dict(), config))  # strict: every weight of theirs is one of ours
    return model


def logits_of(model: Any, x_BT: Tensor) -> Tensor:
    """Without a KV cache."""
    return of_type(Tensor, model(input_ids=x_BT, use_cache=False).logits)


def dense(n_kv_heads: int, stream: float = 1.0) -> Dense:
    """Norms draw their weights, so that none can stand in for another; `stream` scales the embedding."""
    torch.manual_seed(0)
    module = Dense(config(n_kv_heads=n_kv_heads))
    with torch.no_grad():
        module.embedding.weight.mul_(stream)
        for weight in module.parameters():
            if weight.ndim == 1:
                nn.init.uniform_(weight, 0.5, 1.5)
    return module


@HEADS
@pytest.mark.parametrize("stream", [1.0, 1e-3])
@torch.no_grad()
def test_logits_equal_llama(n_kv_heads: int, stream: float) -> None:
    """A stream of 1e-3 has squares of 1e-6, where the norm's epsilon matters."""
    ours, x_BT = dense(n_kv_heads, stream), tokens(3, 64)
    torch.testing.assert_close(ours(x_BT), logits_of(llama(ours), x_BT), rtol=0, atol=1e-5)


@HEADS
def test_gradients_equal_llama(n_kv_heads: int) -> None:
    """Of every weight, the three parts of the fused projection included."""
    ours, x_BT = dense(n_kv_heads), tokens(3, 64)
    theirs = llama(ours)
    F.cross_entropy(logits_of(theirs, x_BT).flatten(0, 1), x_BT.flatten()).backward()
    got = named_as_llama(grads(ours, x_BT), ours.config)
    want = {name: weight.grad for name, weight in theirs.named_parameters()}
    assert got.keys() == want.keys()
    for name, gradient in want.items():
        assert gradient.abs().max() > 1e-4, name
        torch.testing.assert_close(got[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize(
    ("change", "stream"),
    [({"rope_theta": 10_100.0}, 1.0), ({"rms_norm_eps": 1.1e-6}, 1e-3), ({"hidden_act": "gelu"}, 1.0)],
    ids=str,
)
@torch.no_grad()
def test_the_tolerance_tells_other_models(change: dict[str, object], stream: float) -> None:
    ours, x_BT = dense(2, stream), tokens(3, 64)
    assert (ours(x_BT) - logits_of(llama(ours, **change), x_BT)).abs().max() > 1e-4
