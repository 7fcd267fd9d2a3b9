"""Parameters that published models have and ours lack; biases, norms of queries and keys, and sinks count 0 FLOPs."""

from __future__ import annotations


def gpt2_biases(n_layers: int, d_model: int) -> int:
    """Biases of GPT-2's four linear layers per block (3d, d, 4d, d)."""
    return n_layers * 9 * d_model


def qkv_biases(n_layers: int, d_model: int, kv_width: int) -> int:
    """Biases of queries, keys and values, as in Qwen 2."""
    return n_layers * (d_model + 2 * kv_width)


def qk_norms(n_layers: int, head_dim: int) -> int:
    """Norms of queries and keys over one head, as in Qwen 3."""
    return n_layers * 2 * head_dim


def relative_positions(n_layers: int, d_model: int) -> int:
    """One more d x d matrix per block, which projects relative positions (Dai et al. 2019), as in Gopher and Chinchilla."""
    return n_layers * d_model * d_model


def gpt_oss_biases(n_layers: int, d_model: int, n_heads: int, n_kv_heads: int, head_dim: int, router: int) -> int:
    """Biases of gpt-oss outside its experts, and one sink per head: queries, keys, values, output, router."""
    return n_layers * ((n_heads + 2 * n_kv_heads) * head_dim + d_model + n_heads + router)


def expert_biases(n_layers: int, experts: int, d_model: int, d_ff: int) -> int:
    """Biases of SwiGLU experts: gate and up (2 d_ff), down (d_model)."""
    return n_layers * experts * (2 * d_ff + d_model)
