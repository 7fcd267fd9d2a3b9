"""Closed form of models with multi-head latent attention (MLA) and DeepSeek's experts, which our catalogue cannot express.

Multi-head latent attention (DeepSeek-AI 2024, arXiv 2405.04434, section 2.1 and appendix C): keys and values of a token are
made from one latent vector, and one rotated key is shared by all heads; queries may have a latent of their own.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Latent:
    """The attention of one sub-layer.

    Attributes:
        d_model: width of the stream.
        n_heads: heads.
        q_rank: width of the queries' latent; 0: queries are projected directly.
        kv_rank: width of the latent of keys and values.
        nope: width of a head's key without positions, and of its query's part.
        rope: width of the rotated key that all heads share, and of each query's part.
        value: width of a head's value.
    """

    d_model: int
    n_heads: int
    q_rank: int
    kv_rank: int
    nope: int = 128
    rope: int = 64
    value: int = 128

    @property
    def params(self) -> int:
        """Parameters, with the norms of both latents."""
        d, h, q, kv = self.d_model, self.n_heads, self.q_rank, self.kv_rank
        queries = d * q + q + q * h * (self.nope + self.rope) if q else d * h * (self.nope + self.rope)
        down = d * (kv + self.rope) + kv
        return queries + down + kv * h * (self.nope + self.value) + h * self.value * d

    @property
    def cached(self) -> int:
        """Elements that one token leaves in the cache of one layer: the latent and the shared key."""
        return self.kv_rank + self.rope


@dataclass(frozen=True)
class Stack:
    """A stack of layers, each with the same attention; SwiGLU throughout, RMSNorm before each sub-layer and at the end.

    Attributes:
        attention: one attention sub-layer's parameters.
        d_model: width of the stream.
        vocab_size: tokens; embedding and head are separate.
        dense_layers: layers with an MLP of width `d_ff` in place of experts.
        expert_layers: layers with experts.
        d_ff: width of dense MLPs.
        expert_d_ff: width of an expert.
        experts: routed experts.
        shared: experts that every token passes.
        choices: what the router chooses among, where that is more than the experts (no-op experts); 0: the experts.
        doubled: whether a layer with experts also has two attentions and two dense MLPs (LongCat-Flash).
    """

    attention: int
    d_model: int
    vocab_size: int
    dense_layers: int
    expert_layers: int
    d_ff: int
    expert_d_ff: int
    experts: int
    shared: int = 0
    choices: int = 0
    doubled: bool = False

    @property
    def embedding(self) -> int:
        """Parameters of the embedding, and of the head."""
        return self.vocab_size * self.d_model

    @property
    def router(self) -> int:
        """Parameters of one layer's router."""
        return self.d_model * (self.choices or self.experts)

    def expert(self, number: int) -> int:
        """Parameters of so many experts."""
        return number * 3 * self.d_model * self.expert_d_ff

    def blocks(self, routed: int, *, router: bool = True) -> int:
        """Parameters between embedding and head, the last norm included, if `routed` experts of each layer count."""
        d, times = self.d_model, 2 if self.doubled else 1
        mlp = 3 * d * self.d_ff
        half = self.attention + 2 * d
        with_experts = self.expert_layers * (
            times * half + 2 * mlp * self.doubled + self.expert(routed + self.shared) + self.router * router
        )
        return self.dense_layers * (half + mlp) + with_experts + d
