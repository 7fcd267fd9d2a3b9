"""Router-Tuning's released code, unchanged, on transformers' Llama: beside its rebuild in `examples/released/router_tuning.py`.

    git clone https://github.com/CASE-Lab-UMD/Router-Tuning-Mixture-of-Depths
    git -C Router-Tuning-Mixture-of-Depths checkout 6f7ad04
    pip install transformers==4.40.2
    modbench audit examples/released/originals/router_tuning.py:build --expect mod

The clone lies in the current folder, or where `--option clone=PATH` says. Newer transformers have layers that the
patch does not fit.
"""

import importlib.util
from pathlib import Path

import torch

from modbench.harness.core.errors import Unmeasured


class Patched(torch.nn.Module):
    """Tokens [B, T] to logits [B, T, V]."""

    def __init__(self, config, library, patch, granularity):
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
        shape.is_mod = [True] * (config.n_layers - 1) + [False]  # all but the last, as its script has them
        shape.granularity = granularity
        self.inner = patch(library.LlamaForCausalLM(shape))

    def forward(self, tokens_BT):
        return self.inner(input_ids=tokens_BT).logits


def build(config, clone="Router-Tuning-Mixture-of-Depths", granularity="attn_sequence"):
    file = Path(clone) / "utils" / "model" / "model_patch.py"
    if not file.is_file():
        raise Unmeasured(f"no released code in {file}: clone it at 6f7ad04, or name it with --option clone=PATH")
    try:
        import transformers
    except ImportError:
        raise Unmeasured("the package 'transformers' is not installed (pip install transformers==4.40.2)") from None
    if not transformers.__version__.startswith("4.40"):
        raise Unmeasured(f"its layers are those of transformers 4.40.2, and {transformers.__version__} is installed")
    found = importlib.util.spec_from_file_location("router_tuning_as_released", file)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return Patched(config, transformers, module.apply_router_tuning_patch, granularity)
