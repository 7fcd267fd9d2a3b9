"""DeepSeek-V2: sizes, and its comparison of latent with multi-head attention."""

from __future__ import annotations

from typing import Any

from modbench.published._mla import Latent, Stack
from modbench.published._rows import Printed, Row, Source
from modbench.published._shapes import activated, kv_cache, moe

V = 102_400
LATENT = Latent(d_model=5120, n_heads=128, q_rank=1536, kv_rank=512)
# The width of the one dense layer is not printed: that of the 8 experts which a token meets in the other layers.
LARGE = Stack(LATENT.params, 5120, V, 1, 59, d_ff=8 * 1536, expert_d_ff=1536, experts=160, shared=2)
SMALL_LATENT = Latent(d_model=2048, n_heads=16, q_rank=0, kv_rank=512)
SMALL_LAYERS = 27
SMALL_MLA = Stack(
    SMALL_LATENT.params, 2048, V, 1, SMALL_LAYERS - 1, d_ff=10_944, expert_d_ff=1408, experts=64, shared=2
)
# With multi-head attention in place of the latent one, our catalogue can express it.
SMALL_MHA: dict[str, Any] = {
    "d_model": 2048,
    "n_layers": SMALL_LAYERS,
    "n_heads": 16,
    "d_ff": 10_944,
    "vocab_size": V,
    "first_routed": 1,
    "n_experts": 64,
    "experts_top_k": 6,
    "shared_experts": 2,
    "expert_d_ff": 1408,
}
CONFIG = "L 60, d 5,120, h 128, ranks 1,536 and 512, 2 + 6 of 160 experts of 1,536, first layer dense (section 3.1.2)"
SMALL = "L 27, d 2,048, h 16, 2 + 6 of 64 experts of 1,408 (DeepSeek-V3, inference/configs/config_16B.json)"
EVERYTHING = "embedding, head and router counted"
HEAD = "head counted, embedding and router left out"


def total(stack: Stack) -> float:
    """All parameters."""
    return float(stack.blocks(stack.experts) + 2 * stack.embedding)


def latent_activated(stack: Stack, routed: int) -> float:
    """Parameters of the blocks with so many routed experts, and of the head."""
    return float(stack.blocks(routed, router=False) + stack.embedding)


SOURCE = Source(
    "DeepSeek-V2 (DeepSeek-AI 2024)",
    "https://arxiv.org/abs/2405.04434",
    (
        Row("parameters", "abstract", CONFIG, Printed("236B"), "parameters", lambda: total(LARGE), EVERYTHING, "own"),
        Row(
            "activated",
            "abstract",
            CONFIG,
            Printed("21B"),
            "parameters",
            lambda: latent_activated(LARGE, 6),
            HEAD,
            "own",
        ),
        Row(
            "Small w/ MHA: parameters",
            "table 9",
            SMALL,
            Printed("15.8B"),
            "parameters",
            lambda: moe(**SMALL_MHA).params,
            EVERYTHING,
        ),
        Row(
            "Small w/ MLA: parameters",
            "table 9",
            SMALL,
            Printed("15.7B"),
            "parameters",
            lambda: total(SMALL_MLA),
            EVERYTHING,
            "own",
        ),
        Row(
            "Small w/ MHA: activated",
            "table 9",
            SMALL,
            Printed("2.5B"),
            "parameters",
            lambda: activated(router=False, **SMALL_MHA) - SMALL_MLA.embedding,
            HEAD,
        ),
        Row(
            "Small w/ MLA: activated",
            "table 9",
            SMALL,
            Printed("2.4B"),
            "parameters",
            lambda: latent_activated(SMALL_MLA, 6),
            HEAD,
            "own",
        ),
        Row(
            "Small w/ MHA: cache per token",
            "table 9",
            SMALL,
            Printed("110.6K"),
            "elements",
            lambda: kv_cache(1, d_model=2048, n_layers=SMALL_LAYERS, n_heads=16),
            "2 d per layer: our dense model's cache",
        ),
        Row(
            "Small w/ MLA: cache per token",
            "table 9",
            SMALL,
            Printed("15.6K"),
            "elements",
            lambda: float(SMALL_LAYERS * SMALL_LATENT.cached),
            "512 + 64 per layer",
            "own",
        ),
        Row(
            "Large w/ MLA: cache per token",
            "table 9",
            "L 60, rank 512, rotated key 64 (section 3.1.2)",
            Printed("34.6K"),
            "elements",
            lambda: float(60 * LATENT.cached),
            "512 + 64 per layer",
            "own",
        ),
        Row(
            "Large w/ MHA: cache per token",
            "table 9",
            "L 60, 128 heads of 128 (section 3.1.2)",
            Printed("860.2K"),
            "elements",
            lambda: kv_cache(1, d_model=128 * 128, n_layers=60, n_heads=128),
            "2 x heads x 128 per layer",
            why_not="the shape of this model is not printed; 56 heads of 128 in 60 layers would make 860,160",
        ),
    ),
)
