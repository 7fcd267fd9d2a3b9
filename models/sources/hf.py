"""Hugging Face: llama, qwen2, qwen3, smollm, gpt2 in the suite's shape, or a local folder (converted too), config or GGUF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.contracts import Cost, DecodeCost
from modbench.models.hf import cost as costs
from modbench.models.hf import tokenizer
from modbench.models.hf.loading import check_type
from modbench.models.hf.shape import converted, shape
from modbench.models.hf.spec import Found, Spec, locate, needs
from modbench.models.hf.tensor_files import check_safetensors


class HuggingFace:
    """One model: what `hf:WHAT` and its options name. `harness/core/model_sources.py` says what each method is for."""

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
        if not converted(self.spec, found) and found.path is not None:
            check_type(f"model '{self.spec}'", found.path)
        shape(self.spec, found)  # a GGUF is checked as its header is read
        if found.kind == "folder":
            for file in found.weights:
                check_safetensors(self.spec, file)

    def settings(self) -> Mapping[str, Any]:
        """Its shape, as far as it decides that itself."""
        return shape(self.spec, self.found)

    def build(self, config: ModelConfig) -> object:
        """The module."""
        from modbench.models.hf.build import build

        return build(self.spec, self.found, config)

    def cost(self, config: ModelConfig, seq_len: int, batch_size: int) -> Cost | None:
        """Its closed form, of the families that have one."""
        return costs.cost(self.spec, self.found, config, seq_len, batch_size)

    def decode_cost(self, config: ModelConfig, context: int, batch_size: int) -> DecodeCost | None:
        """The same for decoding."""
        return costs.decode_cost(self.spec, self.found, config, context, batch_size)

    def files(self) -> Sequence[Path]:
        """Its config, weights and tokenizer."""
        config = [self.found.config_file] if self.found.config_file is not None else []
        return list(dict.fromkeys([*config, *self.found.weights, *tokenizer.files(self.found)]))

    def tokenizer(self) -> str | None:
        """Its spec, which names its tokenizer too."""
        return str(self.spec) if self.found.weights else None

    def tokenizer_json(self) -> bytes:
        """The tokenizer of a folder or GGUF."""
        return tokenizer.as_json(self.spec, self.found)


SOURCE = HuggingFace
