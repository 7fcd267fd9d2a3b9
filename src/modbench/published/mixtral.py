"""Mixtral 8x7B as Mistral AI announced it."""

from __future__ import annotations

from typing import Any

from modbench.published._rows import Printed, Row, Source
from modbench.published._shapes import activated, moe

SHAPE: dict[str, Any] = {
    "d_model": 4096,
    "n_layers": 32,
    "n_heads": 32,
    "n_kv_heads": 8,
    "d_ff": 14_336,
    "vocab_size": 32_000,
    "n_experts": 8,
    "experts_top_k": 2,
}
CONFIG = "L 32, d 4,096, h 32, kv 8, 2 of 8 experts of 14,336, V 32,000 (defaults of transformers 5.24, configuration_mixtral.py)"
WHERE = "text: 'Mixtral has 46.7B total parameters but only uses 12.9B parameters per token'"

SOURCE = Source(
    "Mixtral 8x7B (Mistral AI 2023)",
    "https://mistral.ai/news/mixtral-of-experts",
    (
        Row(
            "parameters",
            WHERE,
            CONFIG,
            Printed("46.7B"),
            "parameters",
            lambda: moe(**SHAPE).params,
            "embedding, head and router counted",
        ),
        Row(
            "activated per token",
            WHERE,
            CONFIG,
            Printed("12.9B"),
            "parameters",
            lambda: activated(**SHAPE),
            "embedding, head and router counted",
        ),
    ),
)
