"""SkipGPT's released code, unchanged, on transformers' Llama: beside its rebuild in `examples/released/skipgpt.py`.

    git clone https://github.com/EIT-NLP/SkipGPT
    git -C SkipGPT checkout 1ac6141
    pip install transformers==4.46.3
    modbench audit examples/released/originals/skipgpt.py:build --expect mod

The clone lies in the current folder, or where `--option clone=PATH` says. Its layers return three values, as those of
transformers 4.45 to 4.47 do. The blocks are frozen there, since routers are trained first; here all weights train.
"""

import argparse
import importlib.util
from pathlib import Path

import torch

from modbench.harness.core.errors import Unmeasured

# The defaults of its `main.py`.
DEFAULTS = {
    "initial_temperature": 5.0,
    "final_temperature": 1.0,
    "max_steps_stage": 10_000,
    "gradient_accumulation_steps": 8,
}


class Patched(torch.nn.Module):
    """Tokens [B, T] to logits [B, T, V]."""

    def __init__(self, config, library, apply):
        super().__init__()
        shape = library.LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.d_model,
            intermediate_size=config.d_ff,
            num_hidden_layers=config.n_layers,
            num_attention_heads=config.n_heads,
            num_key_value_heads=config.n_kv_heads,
            max_position_embeddings=config.max_seq_len,
            use_cache=False,
        )
        self.inner = apply(library.LlamaForCausalLM(shape), argparse.Namespace(**DEFAULTS)).requires_grad_()

    def forward(self, tokens_BT):
        return self.inner(input_ids=tokens_BT, use_cache=False).logits


def build(config, clone="SkipGPT"):
    file = Path(clone) / "router_attn_mlp.py"
    if not file.is_file():
        raise Unmeasured(f"no released code in {file}: clone it at 1ac6141, or name it with --option clone=PATH")
    try:
        import transformers
    except ImportError:
        raise Unmeasured("the package 'transformers' is not installed (pip install transformers==4.46.3)") from None
    if not transformers.__version__.startswith(("4.45", "4.46", "4.47")):
        raise Unmeasured(f"its layers are those of transformers 4.46.3, and {transformers.__version__} is installed")
    found = importlib.util.spec_from_file_location("skipgpt_as_released", file)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    library_class = transformers.LlamaForCausalLM.__name__
    try:
        return Patched(config, transformers, module.apply_router_attn_mlp)
    finally:
        transformers.LlamaForCausalLM.__name__ = library_class  # the released code renames the class for good
