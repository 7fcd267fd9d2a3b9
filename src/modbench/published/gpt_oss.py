"""gpt-oss: the table of parameters in its model card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from modbench.published import _more
from modbench.published._rows import Printed, Row, Source
from modbench.published._shapes import activated, moe

D, V, HEADS, KV, HEAD_DIM, CHOSEN = 2880, 201_088, 64, 8, 64, 4


@dataclass(frozen=True)
class Size:
    """One of the two models.

    Attributes:
        layers: blocks.
        experts: experts of a block.
    """

    layers: int
    experts: int

    @property
    def _shape(self) -> dict[str, Any]:
        return {
            "d_model": D,
            "n_layers": self.layers,
            "n_heads": HEADS,
            "n_kv_heads": KV,
            "head_dim": HEAD_DIM,
            "d_ff": D,
            "vocab_size": V,
            "n_experts": self.experts,
            "experts_top_k": CHOSEN,
        }

    def _beyond(self, experts: int) -> float:
        """Biases and sinks, with the biases of so many experts."""
        return _more.gpt_oss_biases(self.layers, D, HEADS, KV, HEAD_DIM, self.experts) + _more.expert_biases(
            self.layers, experts, D, D
        )

    def total(self) -> float:
        """All parameters."""
        return moe(**self._shape).params + self._beyond(self.experts)

    def active(self) -> float:
        """Parameters that a token meets, without the embedding."""
        return activated(**self._shape) + self._beyond(CHOSEN) - D * V

    def mlp(self) -> float:
        """All experts and routers."""
        return self.total() - self.attention() - 2 * D * V - (2 * self.layers + 1) * D

    def attention(self) -> float:
        """Projections, biases and sinks."""
        projections = self.layers * D * (2 * HEADS + 2 * KV) * HEAD_DIM
        return projections + _more.gpt_oss_biases(self.layers, D, HEADS, KV, HEAD_DIM, 0)


OWN = {"attention", "embed + unembed"}
SIZES = {"120b": Size(36, 128), "20b": Size(24, 32)}
ROWS: tuple[tuple[str, Callable[[Size], float], dict[str, str], str], ...] = (
    ("MLP", Size.mlp, {"120b": "114.71B", "20b": "19.12B"}, "experts with biases, and routers"),
    ("attention", Size.attention, {"120b": "0.96B", "20b": "0.64B"}, "projections with biases, one sink per head"),
    (
        "embed + unembed",
        lambda _: 2.0 * D * V,
        {"120b": "1.16B", "20b": "1.16B"},
        "two matrices of vocabulary x width",
    ),
    (
        "active parameters",
        Size.active,
        {"120b": "5.13B", "20b": "3.61B"},
        "head, norms, router and biases counted, embedding left out",
    ),
    ("total parameters", Size.total, {"120b": "116.83B", "20b": "20.91B"}, "everything"),
)

SOURCE = Source(
    "gpt-oss model card (OpenAI 2025)",
    "https://arxiv.org/abs/2508.10925",
    tuple(
        Row(
            f"{name}: {what}",
            "table 1",
            f"L {size.layers}, d 2,880, 64 heads of 64, kv 8, 4 of {size.experts} experts (section 2.2), V 201,088 (2.3); "
            "experts 2,880 wide (defaults of transformers 5.24, configuration_gpt_oss.py)",
            Printed(printed[name]),
            "parameters",
            partial(ours, size),
            convention,
            "own" if what in OWN else "catalogue and more",
        )
        for name, size in SIZES.items()
        for what, ours, printed, convention in ROWS
    ),
)
