"""The PyPI package `mixture-of-depth` 1.2.0 (astramind-ai): every second layer of transformers' Llama becomes MoD.

    modbench run quick --model examples/rivals/mixture_of_depth.py:build --effort smoke

It needs transformers 4.40: with 5 its import fails, and every cell says so. Known faults are in README.md.
"""

import importlib.metadata

import torch

from modbench.harness.core.errors import Unmeasured

CAPACITY = 0.125  # fixed in the package


class Packaged(torch.nn.Module):
    """Tokens [B, T] to logits [B, T, V]."""

    def __init__(self, config, wrap):
        import transformers

        super().__init__()
        shape = transformers.LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.d_model,
            intermediate_size=config.d_ff,
            num_hidden_layers=config.n_layers,
            num_attention_heads=config.n_heads,
            num_key_value_heads=config.n_kv_heads,
            max_position_embeddings=config.max_seq_len,
            architectures=["LlamaForCausalLM"],  # the package reads it
        )
        shape._attn_implementation = "sdpa"  # noqa: SLF001  # as its own loader sets it
        self.inner = wrap(transformers.LlamaForCausalLM(shape))

    def forward(self, tokens_BT):
        b, t = tokens_BT.shape
        # It indexes positions by row: without those of every row a batch above 1 raises.
        positions = torch.arange(t, device=tokens_BT.device).expand(b, t)
        return self.inner(input_ids=tokens_BT, position_ids=positions, use_cache=False).logits


def build(config):
    try:
        importlib.metadata.version("mixture-of-depth")
    except importlib.metadata.PackageNotFoundError:
        raise Unmeasured("the package 'mixture-of-depth' is not installed (pip install mixture-of-depth)") from None
    try:
        from MoD import apply_mod_to_hf
    except ImportError as error:
        reason = str(error).partition(" (/")[0]
        raise Unmeasured(f"mixture-of-depth 1.2.0 needs transformers 4.40.2 ({reason})") from None
    return Packaged(config, apply_mod_to_hf)
