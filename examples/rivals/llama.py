"""transformers' Llama, with random weights in the suite's shape.

    modbench run quick --model examples/rivals/llama.py:build --effort smoke

`--model hf:llama` is the same model with prefill, decode and a closed form; this file shows how little a model needs.
"""

import torch

from modbench.harness.core.errors import Unmeasured


class Llama(torch.nn.Module):
    """Tokens [B, T] to logits [B, T, V]."""

    def __init__(self, config, library):
        super().__init__()
        self.inner = library.LlamaForCausalLM(
            library.LlamaConfig(
                vocab_size=config.vocab_size,
                hidden_size=config.d_model,
                intermediate_size=config.d_ff,
                num_hidden_layers=config.n_layers,
                num_attention_heads=config.n_heads,
                num_key_value_heads=config.n_kv_heads,
                head_dim=config.head_dim,
                max_position_embeddings=config.max_seq_len,
            )
        )

    def forward(self, tokens_BT):
        return self.inner(input_ids=tokens_BT, use_cache=False).logits


def build(config):
    try:
        import transformers
    except ImportError:
        raise Unmeasured("the package 'transformers' is not installed (pip install transformers)") from None
    return Llama(config, transformers)
