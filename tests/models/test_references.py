"""Our dense model against independent implementations of the same function: transformers' Llama and GPT-2 with our weights."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from present import of_type, present
from toolbox import config, grads, tokens
from torch import Tensor, nn
from torch.nn import functional as F

from modbench.harness.core.config import ModelConfig
from modbench.models.dense import Dense

pytest.importorskip("transformers")

GPT_2 = {"norm": "layer", "position": "learned", "activation": "gelu"}
# Of each reference: its names of what stands outside of the blocks, and in block {}.
NAMES = {
    "LlamaForCausalLM": {
        "embedding": "model.embed_tokens",
        "norm": "model.norm",
        "head": "lm_head",
        "norm_attention": "model.layers.{}.input_layernorm",
        "attention.out": "model.layers.{}.self_attn.o_proj",
        "norm_mlp": "model.layers.{}.post_attention_layernorm",
        "mlp.gate": "model.layers.{}.mlp.gate_proj",
        "mlp.up": "model.layers.{}.mlp.up_proj",
        "mlp.down": "model.layers.{}.mlp.down_proj",
    },
    "GPT2LMHeadModel": {
        "embedding": "transformer.wte",
        "positions": "transformer.wpe",
        "norm": "transformer.ln_f",
        "head": "lm_head",
        "norm_attention": "transformer.h.{}.ln_1",
        "attention.qkv": "transformer.h.{}.attn.c_attn",
        "attention.out": "transformer.h.{}.attn.c_proj",
        "norm_mlp": "transformer.h.{}.ln_2",
        "mlp.up": "transformer.h.{}.mlp.c_fc",
        "mlp.down": "transformer.h.{}.mlp.c_proj",
    },
}


def named(ours: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Weights or gradients of an untied dense model under the reference's names, in its shapes."""
    theirs, kind = {}, reference_of(config)
    rows = [config.attention_width, config.kv_width, config.kv_width]
    for path, weight in ours.items():
        name, _, what = path.rpartition(".")
        layer = name.split(".")[1] if name.startswith("blocks.") else ""
        own = name.removeprefix(f"blocks.{layer}.")
        if own in NAMES[kind]:
            turned = kind == "GPT2LMHeadModel" and bool(layer) and weight.ndim == 2  # its products are x @ weight
            theirs[f"{NAMES[kind][own].format(layer)}.{what}"] = weight.mT if turned else weight
        else:  # one fused projection of ours is three of Llama's
            parts = zip("qkv", torch.split(weight, rows), strict=True)
            theirs |= {f"model.layers.{layer}.self_attn.{part}_proj.weight": each for part, each in parts}
    return theirs


def reference_of(config: ModelConfig) -> str:
    return "GPT2LMHeadModel" if config.position == "learned" else "LlamaForCausalLM"


def reference(ours: Dense) -> Any:
    """transformers' model with our weights."""
    transformers, config = importlib.import_module("transformers"), ours.config
    common = {"vocab_size": config.vocab_size, "tie_word_embeddings": False}
    if reference_of(config) == "GPT2LMHeadModel":
        size = {"n_embd": config.d_model, "n_layer": config.n_layers, "n_head": config.n_heads}
        none = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        made = transformers.GPT2Config(
            **{"n_positions": config.max_seq_len, "activation_function": "gelu", **common, **size, **none}
        )
    else:
        shape = {
            "hidden_size": config.d_model,
            "intermediate_size": config.d_ff,
            "num_hidden_layers": config.n_layers,
            "num_attention_heads": config.n_heads,
            "num_key_value_heads": config.n_kv_heads,
            "head_dim": config.head_dim,
            "max_position_embeddings": config.max_seq_len,
            "rms_norm_eps": 1e-6,
            "rope_theta": 10_000.0,
        }
        made = transformers.LlamaConfig(**{**common, **shape})
    model = getattr(transformers, reference_of(config))(made)
    missed = model.load_state_dict(named(ours.state_dict(), config), strict=False)
    assert missed.unexpected_keys == []
    for name in missed.missing_keys:  # biases of GPT-2's products, which ours do not have
        assert name.endswith(".bias")
        model.get_parameter(name).detach().zero_()
    return model


def logits_of(model: Any, x_BT: Tensor) -> Tensor:
    """Without a KV cache."""
    return of_type(Tensor, model(input_ids=x_BT, use_cache=False).logits)


def dense(stream: float = 1.0, **shape: Any) -> Dense:
    """Norms draw their weights, so that none can stand in for another; `stream` scales the embedding."""
    torch.manual_seed(0)
    module = Dense(config(**shape))
    with torch.no_grad():
        module.embedding.weight.mul_(stream)
        for weight in module.parameters():
            if weight.ndim == 1:
                nn.init.uniform_(weight, 0.5, 1.5)
    return module


WIDTHS = [{}, {"n_kv_heads": 2}, {"n_kv_heads": 2, "head_dim": 4}, {"n_kv_heads": 2, "head_dim": 20}]
SHAPES = pytest.mark.parametrize("shape", [*WIDTHS, GPT_2], ids=str)


@SHAPES
@pytest.mark.parametrize("stream", [1.0, 1e-3])
@torch.no_grad()
def test_logits_equal_the_references(shape: dict[str, Any], stream: float) -> None:
    """A stream of 1e-3 has squares of 1e-6, where the norm's epsilon matters."""
    ours, x_BT = dense(stream, **shape), tokens(3, 64)
    torch.testing.assert_close(ours(x_BT), logits_of(reference(ours), x_BT), rtol=0, atol=1e-5)


@SHAPES
def test_gradients_equal_the_references(shape: dict[str, Any]) -> None:
    """Of every weight, the three parts of the fused projection included."""
    ours, x_BT = dense(**shape), tokens(3, 64)
    theirs = reference(ours)
    F.cross_entropy(logits_of(theirs, x_BT).flatten(0, 1), x_BT.flatten()).backward()
    got = named(grads(ours, x_BT), ours.config)
    want = {name: present(theirs.get_parameter(name).grad) for name in got}
    assert got.keys() == named(ours.state_dict(), ours.config).keys()
    for name, gradient in want.items():
        assert gradient.abs().max() > 1e-4, name
        torch.testing.assert_close(got[name], gradient, rtol=1e-4, atol=1e-6, msg=name)
