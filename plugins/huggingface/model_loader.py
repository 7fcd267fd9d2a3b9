"""Hugging Face: llama, qwen2, qwen3, smollm, gpt2 in the suite's shape, or a local folder (converted too), config or GGUF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modbench.extend import Cost, DecodeCost, ModelConfig
from modbench.plugins.huggingface.model.files import check_safetensors, converted, model_type, raw_config, shape
from modbench.plugins.huggingface.model.loading import check_type, tokenizer_files, tokenizer_json
from modbench.plugins.huggingface.model.spec import Found, Spec, locate, needs

if TYPE_CHECKING:
    from torch import nn


class HuggingFace:
    """One model: what `hf:WHAT` and its options name. `harness/registry/model_loaders.py` says what each method is for."""

    def __init__(self, what: str, options: Mapping[str, Any]) -> None:
        self.spec = Spec.of(what, options)

    @cached_property
    def found(self) -> Found:
        """Where it is on this machine."""
        return locate(self.spec)

    def check(self) -> None:
        """Check that the model and the packages that load it are there, and that its files are whole."""
        found = self.found
        needs(self.spec, gguf=found.kind == "gguf")
        if not converted(found) and found.path is not None:
            check_type(found.said, found.path)
        shape(found)  # a GGUF is checked as its header is read
        if found.kind == "folder" and found.weights:
            check_safetensors(found)

    def settings(self) -> Mapping[str, Any]:
        """Its shape, as far as it decides that itself."""
        return shape(self.found)

    def build(self, config: ModelConfig) -> object:
        """The module; a converted model is wrapped with its routers in view."""
        from modbench.plugins.huggingface.model.model import HfModel, build

        if converted(self.found):
            from modbench.plugins.huggingface import mod as hf_mod  # makes the library know these models

            made = build(self.found, config)
            assert isinstance(made, hf_mod.MoDModel)
            return hf_mod.Logits(made, self.spec["rule"])
        return HfModel(build(self.found, config))

    @staticmethod
    def adopts(module: nn.Module) -> bool:
        """Whether a module is of transformers: it has a cache of its own."""
        return hasattr(module, "generate") and hasattr(module, "get_output_embeddings")

    @staticmethod
    def adopt(module: nn.Module) -> nn.Module:
        """Wrap such a module as ours are called."""
        from modbench.plugins.huggingface.model.model import HfModel

        return HfModel(module)

    def cost(self, config: ModelConfig, seq_len: int, batch_size: int) -> Cost | None:
        """Its closed form, of the families that are our dense model with biases or norms: Llama, Qwen 2 and 3, SmolLM, GPT-2.

        Biases and norms count 0 FLOPs, so only parameters differ. Memory is not computed here: their code keeps other tensors
        than ours, and fake tensors forecast it exactly.
        """
        more = _more_params(self.found, config)
        if more is None:
            return None
        from modbench.extend import dense

        made = dense.cost(config, seq_len, batch_size)
        return replace(made, params=made.params + more, modules={})

    def decode_cost(self, config: ModelConfig, context: int, batch_size: int) -> DecodeCost | None:
        """Elements that one decode step reads, and keys and values after the context; None as for `cost`."""
        if _more_params(self.found, config) is None:
            return None
        from modbench.extend import dense

        return dense.decode_cost(config, context, batch_size)

    def files(self) -> Sequence[Path]:
        """Its config, weights and tokenizer."""
        config = [self.found.config_file] if self.found.config_file is not None else []
        return list(dict.fromkeys([*config, *self.found.weights, *tokenizer_files(self.found)]))

    def tokenizer(self) -> str | None:
        """Its spec, which names its tokenizer too."""
        return str(self.spec) if self.found.weights else None

    def tokenizer_json(self) -> bytes:
        """The tokenizer of a folder or GGUF."""
        return tokenizer_json(self.found)


def _more_params(found: Found, config: ModelConfig) -> int | None:
    """Parameters beyond those of our dense model of the same shape; None if it is not such a model."""
    kind = model_type(found)
    data: dict[str, Any] = {}
    if found.kind in {"folder", "config"} and found.config_file is not None:
        data = raw_config(found)
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


LOADER = HuggingFace
