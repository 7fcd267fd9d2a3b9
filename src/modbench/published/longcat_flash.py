"""LongCat-Flash: how many parameters a token activates, depending on how many of its 12 choices are no-ops."""

from __future__ import annotations

from functools import partial

from modbench.published._mla import Latent, Stack
from modbench.published._rows import Printed, Row, Source

STACK = Stack(
    attention=Latent(d_model=6144, n_heads=64, q_rank=1536, kv_rank=512).params,
    d_model=6144,
    vocab_size=131_072,
    dense_layers=0,
    expert_layers=28,
    d_ff=12_288,
    expert_d_ff=2048,
    experts=512,
    choices=512 + 256,
    doubled=True,
)
CONFIG = (
    "L 28 with two MLA and two MLPs of 12,288 each, d 6,144, h 64, ranks 1,536 and 512, 512 experts of 2,048 and 256 identities, "
    "top-12 (defaults of transformers 5.24, configuration_longcat_flash.py)"
)


def activated(real: int) -> float:
    """Parameters of blocks and head if `real` of a token's choices are experts; of the router, those that score experts."""
    scores = STACK.expert_layers * STACK.d_model * STACK.experts
    return float(STACK.blocks(real, router=False) + scores + STACK.embedding)


_row = partial(
    Row,
    config=CONFIG,
    unit="parameters",
    convention="head counted, embedding left out; of the router the 512 rows that score experts, not the 256 of no-ops (without "
    "any of it the third is 31.245B, which rounds to 31.2B)",
    form="own",
)

SOURCE = Source(
    "LongCat-Flash (Meituan 2025)",
    "https://arxiv.org/abs/2509.01322",
    (
        _row("least activated: 0 of 12", "abstract", printed=Printed("18.6B"), ours=lambda: activated(0)),
        _row("mean activated: 8 of 12", "abstract", printed=Printed("27B"), ours=lambda: activated(8)),
        _row("most activated: 12 of 12", "abstract", printed=Printed("31.3B"), ours=lambda: activated(12)),
        _row("parameters", "abstract", printed=Printed("560B"), ours=lambda: activated(512)),
    ),
)
