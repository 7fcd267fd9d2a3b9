"""vLLM's example of keys and values."""

from __future__ import annotations

from functools import partial

from modbench.published._rows import Printed, Row, Source
from modbench.published._shapes import kv_cache

_row = partial(Row, where="section 3, Large KV cache", config="OPT-13B: L 40, d 5,120 (same place), fp16")


def _bytes(tokens: int) -> float:
    return 2 * kv_cache(tokens, d_model=5120, n_layers=40, n_heads=40, activation="gelu")


SOURCE = Source(
    "vLLM (Kwon et al. 2023)",
    "https://arxiv.org/abs/2309.06180",
    (
        _row(
            "one token, in KB",
            printed=Printed("800"),
            unit="KiB",
            ours=lambda: _bytes(1) / 1024,
            convention="2 bytes per element; KB are KiB",
        ),
        _row(
            "2,048 tokens, in GB",
            printed=Printed("1.6"),
            unit="GiB",
            ours=lambda: _bytes(2048) / 2**30,
            convention="2 bytes per element; GB are GiB",
        ),
    ),
)
