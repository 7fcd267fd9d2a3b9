"""OLMoE-1B-7B."""

from __future__ import annotations

from typing import Any

from modbench.published._rows import Printed, Row, Source
from modbench.published._shapes import activated, moe

SHAPE: dict[str, Any] = {
    "d_model": 2048,
    "n_layers": 16,
    "n_heads": 16,
    "d_ff": 1024,
    "vocab_size": 50_304,
    "n_experts": 64,
    "experts_top_k": 8,
}
CONFIG = (
    "L 16, d 2,048, h 16, V 50,304, 8 of 64 experts of 1,024: mlp_ratio 1 is halved by SwiGLU "
    "(configs/olmoe-8x1b-newhp-newds-cx5-fine1-normreorder.yml)"
)

SOURCE = Source(
    "OLMoE (Muennighoff et al. 2024)",
    "https://github.com/allenai/OLMoE",
    (
        Row(
            "parameters",
            "README.md, first sentence",
            CONFIG,
            Printed("6.9B"),
            "parameters",
            lambda: moe(**SHAPE).params,
            "embedding, head and router counted",
        ),
        Row(
            "activated per token",
            "README.md, first sentence",
            CONFIG,
            Printed("1.3B"),
            "parameters",
            lambda: activated(**SHAPE),
            "embedding, head and router counted",
        ),
    ),
)
