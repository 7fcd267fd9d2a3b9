"""Memory of Llama 3.1's keys and values in the Hugging Face announcement, which counts tokens in two ways."""

from __future__ import annotations

from collections.abc import Callable

from modbench.published._rows import Printed, Row, Source
from modbench.published._shapes import kv_cache

GIB = 2.0**30
SHAPES = {"8B": (32, 4096, 32), "70B": (80, 8192, 64), "405B": (126, 16_384, 128)}
TOKENS = {"1k": 1024, "16k": 16_000, "128k": 128_000}
# Printed in GB, which are GiB.
TABLE = {
    "8B": ("0.125", "1.95", "15.62"),
    "70B": ("0.313", "4.88", "39.06"),
    "405B": ("0.984", "15.38", "123.05"),
}
WHY_NOT = {"405B": "the paper's 8 key-value heads make half of it; 16 heads would make the printed number"}


def gib(name: str, tokens: int) -> Callable[[], float]:
    """Keys and values of one sequence in fp16, in GiB."""
    layers, d, heads = SHAPES[name]
    return lambda: (
        2 * kv_cache(tokens, d_model=d, n_layers=layers, n_heads=heads, n_kv_heads=8, vocab_size=128_256) / GIB
    )


SOURCE = Source(
    "Llama 3.1 on Hugging Face (2024)",
    "https://github.com/huggingface/blog/blob/main/llama31.md",
    tuple(
        Row(
            f"{name}, {length} tokens: cache in GB",
            "Inference Memory Requirements, second table",
            f"L {SHAPES[name][0]}, d {SHAPES[name][1]}, h {SHAPES[name][2]}, kv 8 (Llama 3, table 3), fp16",
            Printed(printed),
            "GiB",
            gib(name, TOKENS[length]),
            "2 bytes per element, one sequence; GB are GiB; 1k is 1,024 tokens, but 16k and 128k are 16,000 and 128,000",
            why_not=WHY_NOT.get(name, ""),
        )
        for name, row in TABLE.items()
        for length, printed in zip(TOKENS, row, strict=True)
    ),
)
