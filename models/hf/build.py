"""Makes the module of a spec: from a family's config in the suite's shape, from a config file, or with stored weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from modbench.harness.core import extras
from modbench.harness.core.config import ModelConfig
from modbench.harness.core.errors import UsageError
from modbench.models.hf.loading import load, told
from modbench.models.hf.model import HfModel
from modbench.models.hf.shape import converted
from modbench.models.hf.spec import FAMILIES, Found, Spec
from modbench.models.hf.wrapper import built_on_shapes


def build(spec: Spec, found: Found, config: ModelConfig) -> nn.Module:
    """The model, its random weights drawn from torch's generator; weights are float32.

    On shapes alone (the meta device, fake tensors) no weights are read. A converted model is wrapped with its routers in view.

    Raises:
        UsageError: if the library is missing or cannot make the model, or weights are missing or damaged.
    """
    said, routed = f"model '{spec}'", converted(spec, found)
    if routed:
        from modbench.models import hf_mod  # makes the library know these models
    asked: dict[str, Any] = {"attn_implementation": spec["attn"], "dtype": torch.float32}
    if found.weights and not built_on_shapes():
        inner = load(said, "AutoModelForCausalLM", found.path, **asked)
    else:
        with told(said, "config"):
            theirs = family(spec, config) if found.kind == "family" else load(said, "AutoConfig", found.path)
        inner = load(said, "AutoModelForCausalLM", theirs, **asked)
    if routed:
        return hf_mod.Logits(inner, spec["rule"])
    return HfModel(inner, getattr(inner.config, "max_position_embeddings", None))


def family(spec: Spec, config: ModelConfig) -> Any:  # noqa: ANN401  # the library's class
    """The config of a family in our shape; without dropout, which no other model here has."""
    library, name = extras.load("transformers", "hf", f"model '{spec}'"), spec.name
    if name == "gpt2":
        if config.attention_width != config.d_model:
            raise UsageError(
                f"model 'hf:gpt2' divides d_model {config.d_model} among n_heads {config.n_heads}: leave out head_dim "
                f"{config.head_dim}."
            )
        return library.GPT2Config(
            vocab_size=config.vocab_size,
            n_positions=config.max_seq_len,
            n_embd=config.d_model,
            n_layer=config.n_layers,
            n_head=config.n_heads,
            n_inner=config.d_ff,
            tie_word_embeddings=config.tied,
            **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
            **dict.fromkeys(("bos_token_id", "eos_token_id"), None),
        )
    made: Any = library.AutoConfig.for_model(
        FAMILIES[name],
        vocab_size=config.vocab_size,
        max_position_embeddings=config.max_seq_len,
        hidden_size=config.d_model,
        intermediate_size=config.d_ff,
        num_hidden_layers=config.n_layers,
        num_attention_heads=config.n_heads,
        num_key_value_heads=config.n_kv_heads,
        head_dim=config.head_dim,
        tie_word_embeddings=config.tied,
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), None),
    )
    return made
