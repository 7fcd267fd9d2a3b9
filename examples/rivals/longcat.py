"""LongCat-Flash: a mixture of experts with zero experts, which return their input: a token that gets one skips the work.

    modbench run quick --model 'examples/rivals/longcat.py:build(zero_experts=[0, 4])' --effort smoke

The architecture of transformers' module `longcat_flash` with random weights, small, in the suite's width, depth and vocabulary.
Each of its layers holds two attentions, two dense MLPs and one mixture of experts, so `n_layers` of the suite makes half as many.
"""

import torch

from modbench.harness.core.errors import Unmeasured


class Longcat(torch.nn.Module):
    """Tokens [B, T] to logits [B, T, V]."""

    def __init__(self, config, library, experts, zero_experts, top_k):
        super().__init__()
        head = config.head_dim
        made = library.LongcatFlashConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.d_model,
            num_layers=max(1, config.n_layers // 2),
            num_attention_heads=config.n_heads,
            max_position_embeddings=config.max_seq_len,
            ffn_hidden_size=config.d_ff,
            expert_ffn_hidden_size=max(8, config.d_ff // 2),
            n_routed_experts=experts,
            zero_expert_num=zero_experts,
            moe_topk=top_k,
            q_lora_rank=config.d_model,
            kv_lora_rank=config.d_model // 2,
            qk_nope_head_dim=head,
            qk_rope_head_dim=head,
            head_dim=head,
            v_head_dim=head,
            use_cache=False,
            bos_token_id=None,
            eos_token_id=None,
        )
        self.inner = library.LongcatFlashForCausalLM(made)

    def forward(self, tokens_BT):
        return self.inner(input_ids=tokens_BT, use_cache=False).logits


def build(config, experts=4, zero_experts=4, top_k=2):
    """The model.

    Args:
        config: the suite's shape.
        experts: experts that compute.
        zero_experts: experts that return their input.
        top_k: experts that each token gets, of both kinds.
    """
    try:
        import transformers

        transformers.LongcatFlashForCausalLM  # it is looked up when it is named
    except (ImportError, AttributeError):
        raise Unmeasured(
            "the package 'transformers' is not installed, or has no module longcat_flash (pip install 'transformers>=5')"
        ) from None
    return Longcat(config, transformers, experts, zero_experts, top_k)
