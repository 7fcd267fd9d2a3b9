"""DeepSeek-V3: the report, and the description of its weights, which counts otherwise."""

from __future__ import annotations

from functools import partial

from modbench.published._mla import Latent, Stack
from modbench.published._rows import Printed, Row, Source

ATTENTION = Latent(d_model=7168, n_heads=128, q_rank=1536, kv_rank=512).params
STACK = Stack(ATTENTION, 7168, 129_280, 3, 58, d_ff=18_432, expert_d_ff=2048, experts=256, shared=1)
CONFIG = (
    "L 61 (3 dense), d 7,168, h 128, ranks 1,536 and 512, 1 + 8 of 256 experts of 2,048 (arXiv 2412.19437, section 4.2); "
    "d_ff 18,432, V 129,280 (defaults of transformers 5.24, configuration_deepseek_v3.py)"
)
MODULE = "one layer with experts, as in the main model"


def _active() -> float:
    return float(STACK.blocks(8) + STACK.embedding)


def _module(experts: int) -> float:
    return float(ATTENTION + STACK.expert(experts + STACK.shared))


_row = partial(Row, unit="parameters", form="own")

SOURCE = Source(
    "DeepSeek-V3 (DeepSeek-AI 2024)",
    "https://github.com/deepseek-ai/DeepSeek-V3",
    (
        _row(
            "parameters",
            "README.md, section 1",
            CONFIG,
            Printed("671B"),
            ours=lambda: float(STACK.blocks(STACK.experts) + 2 * STACK.embedding),
            convention="embedding, head and router counted; the module for multi-token prediction left out",
        ),
        _row(
            "activated",
            "README.md, section 1",
            CONFIG,
            Printed("37B"),
            ours=_active,
            convention="head and router counted, embedding left out",
        ),
        _row(
            "activated, with embedding",
            "README_WEIGHTS.md, Main Model Weights",
            CONFIG,
            Printed("36.7B"),
            ours=lambda: _active() + STACK.embedding,
            convention="0.9B for the embedding and 0.9B for the head included, as the text says",
            why_not="with embedding and head it is 37.6B, with one of the two 36.6B",
        ),
        _row(
            "embedding",
            "README_WEIGHTS.md, Main Model Weights",
            CONFIG,
            Printed("0.9B"),
            ours=lambda: float(STACK.embedding),
            convention="vocabulary x width",
        ),
        _row(
            "prediction module: parameters",
            "README_WEIGHTS.md, Multi-Token Prediction (MTP) Modules",
            MODULE,
            Printed("11.5B"),
            ours=lambda: _module(STACK.experts),
            convention="attention and experts; the 2d x d projection, the router and norms (0.1B) left out",
        ),
        _row(
            "prediction module: activated",
            "README_WEIGHTS.md, Multi-Token Prediction (MTP) Modules",
            MODULE,
            Printed("2.4B"),
            ours=lambda: _module(8) + 2 * STACK.embedding,
            convention="the same, with embedding and head",
        ),
    ),
)
