"""Makes the module of a spec: from a family's config in the suite's shape, from a config file, or with stored weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from modbench.harness.core import extras
from modbench.harness.core.config import ModelConfig
from modbench.harness.core.errors import UsageError, in_short
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
    library = extras.load("transformers", "hf", f"model '{spec}'")
    routed = converted(spec, found)
    if routed:
        from modbench.models import hf_mod  # makes the library know these models
    with _quiet(library):
        try:
            if found.weights and not built_on_shapes():
                inner = _stored(library, spec, found)
            else:
                theirs = _config(library, spec, found, config)
                inner = library.AutoModelForCausalLM.from_config(
                    theirs, attn_implementation=spec["attn"], dtype=torch.float32
                )
        except UsageError:
            raise
        except Exception as error:  # the library and the readers of its files raise many types
            raise UsageError(
                f"model '{spec}': transformers cannot make it: {type(error).__name__}: {in_short(error)}"
            ) from error
    if routed:
        return hf_mod.Logits(inner, spec["rule"])
    return HfModel(inner, getattr(inner.config, "max_position_embeddings", None))


def family(library: ModuleType, name: str, config: ModelConfig) -> Any:  # noqa: ANN401  # the library's class
    """The config of a family in our shape; without dropout, which no other model here has."""
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


def _config(library: ModuleType, spec: Spec, found: Found, config: ModelConfig) -> Any:  # noqa: ANN401
    if found.kind == "family":
        return family(library, spec.name, config)
    assert found.path is not None
    if found.kind == "gguf":
        return library.AutoConfig.from_pretrained(
            str(found.path.parent), gguf_file=found.path.name, local_files_only=True
        )
    return library.AutoConfig.from_pretrained(str(found.path), local_files_only=True, trust_remote_code=False)


def _stored(library: ModuleType, spec: Spec, found: Found) -> Any:  # noqa: ANN401
    """The model with its stored weights: all of them, since a missing one would be random without a word."""
    folder: Path | None = found.folder
    asked: dict[str, Any] = (
        {"use_safetensors": True} if found.kind == "folder" else {"gguf_file": found.weights[0].name}
    )
    inner, info = library.AutoModelForCausalLM.from_pretrained(
        str(folder),
        dtype=torch.float32,
        attn_implementation=spec["attn"],
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
        **asked,
    )
    missing = sorted(info["missing_keys"])
    if missing:
        raise UsageError(
            f"model '{spec}': its files lack {len(missing)} of the model's tensors, such as {missing[0]!r}. "
            "Fetch or save them again, or write '(weights=random)'."
        )
    return inner


@contextlib.contextmanager
def _quiet(library: ModuleType) -> Iterator[None]:
    """Without the library's bars and advice, which would fill logs; its settings are put back."""
    logging = library.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
