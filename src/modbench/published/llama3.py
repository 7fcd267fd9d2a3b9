"""Llama 3: sizes and training compute in the paper."""

from __future__ import annotations

from collections.abc import Callable

from modbench.published._rows import Printed, Row, Source
from modbench.published._shapes import dense

V = 128_000  # as table 3 prints it; the tokenizer has 128,256
# Name, layers, width, heads, d_ff; and why it is not reproduced.
TABLE = (
    ("8B", 32, 4096, 32, 14_336, ""),
    ("70B", 80, 8192, 64, 28_672, "the name is no rounding: the shape has 70.5B, with or without norms"),
    ("405B", 126, 16_384, 128, 53_248, "the name is no rounding: the shape has 405.8B; without the embedding 403.7B"),
)


def params(layers: int, d: int, heads: int, d_ff: int) -> float:
    """Parameters of the shape."""
    return dense(d_model=d, n_layers=layers, n_heads=heads, n_kv_heads=8, d_ff=d_ff, vocab_size=V).params


def _params(layers: int, d: int, heads: int, d_ff: int) -> Callable[[], float]:
    return lambda: params(layers, d, heads, d_ff)


SOURCE = Source(
    "Llama 3 (Grattafiori et al. 2024)",
    "https://arxiv.org/abs/2407.21783",
    (
        *(
            Row(
                f"{name}: parameters",
                "table 3, head of the column",
                f"L {layers}, d {d}, h {heads}, kv 8, d_ff {d_ff}, V 128,000 (table 3)",
                Printed(name),
                "parameters",
                _params(layers, d, heads, d_ff),
                "embedding and head counted",
                why_not=why_not,
            )
            for name, layers, d, heads, d_ff, why_not in TABLE
        ),
        Row(
            "405B: training FLOPs",
            "section 1 and section 3.2: 3.8 x 10^25 FLOPs, 15.6T tokens",
            "L 126, d 16,384, h 128, kv 8, d_ff 53,248, V 128,000 (table 3); 15.6T tokens",
            Printed("3.8E+25"),
            "FLOP",
            lambda: 6 * params(126, 16_384, 128, 53_248) * 15.6e12,
            "6ND, attention's scores left out",
        ),
    ),
)
