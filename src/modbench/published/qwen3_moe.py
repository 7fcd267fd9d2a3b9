"""Qwen3-30B-A3B: what its name, its total and its non-embedding parameters count."""

from __future__ import annotations

from functools import partial
from typing import Any

from modbench.published import _more
from modbench.published._rows import Printed, Row, Source
from modbench.published._shapes import activated, moe

L, D, V, HEADS, KV, HEAD_DIM = 48, 2048, 151_936, 32, 4, 128
SHAPE: dict[str, Any] = {
    "d_model": D,
    "n_layers": L,
    "n_heads": HEADS,
    "n_kv_heads": KV,
    "head_dim": HEAD_DIM,
    "d_ff": 768,
    "vocab_size": V,
    "n_experts": 128,
    "experts_top_k": 8,
}
BEYOND = _more.qk_norms(L, HEAD_DIM)

_row = partial(
    Row,
    where="model card, Model Overview",
    config="L 48, 32 heads, kv 4, 8 of 128 experts (model card); d 2,048, head 128, experts of 768, V 151,936 "
    "(slime, scripts/models/qwen3-30B-A3B.sh)",
    unit="parameters",
    form="catalogue and more",
)

SOURCE = Source(
    "Qwen3-30B-A3B (Qwen 2025)",
    "https://huggingface.co/Qwen/Qwen3-30B-A3B-Instruct-2507",
    (
        _row(
            "parameters",
            printed=Printed("30.5B"),
            ours=lambda: float(moe(**SHAPE).params + BEYOND),
            convention="embedding, head and router counted",
        ),
        _row(
            "non-embedding",
            printed=Printed("29.9B"),
            ours=lambda: float(moe(**SHAPE).params + BEYOND - 2 * D * V),
            convention="neither embedding nor head",
        ),
        _row(
            "activated",
            printed=Printed("3.3B"),
            ours=lambda: activated(router=False, **SHAPE) + BEYOND,
            convention="embedding and head counted, router left out (with it 3.35B, which rounds up)",
        ),
    ),
)
