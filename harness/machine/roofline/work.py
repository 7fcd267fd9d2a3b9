"""Operators of one call as data: what kind of work, of what size, how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal

from pydantic import Field, model_validator

from modbench.harness.core.errors import shown
from modbench.harness.core.immutable import Frozen

# Kinds whose time is read from a curve over the bytes that they read and write.
ByBytes = Literal[
    "pointwise",
    "strided",
    "square",
    "power",
    "sigmoid",
    "gelu",
    "row_sum",
    "column_sum",
    "softmax",
    "layer_norm",
    "look_up",
    "index",
    "scatter",
    "pad",
    "fill",
    "top_k",
    "sort",
    "optimizer",
]
# Matrix products by how their factors lie in memory, attention by direction and mask, and views, which only are launched.
Kind = Literal[
    "product",
    "product_of_transposed",
    "attention",
    "causal_attention",
    "attention_backward",
    "causal_attention_backward",
    "view",
    ByBytes,
]


# Numbers in the size of an operator: the bytes alone, unless they stand here.
EXTENTS: dict[Kind, int] = {
    "product": 4,
    "product_of_transposed": 4,
    "attention": 4,
    "causal_attention": 3,
    "attention_backward": 4,
    "causal_attention_backward": 3,
    "optimizer": 2,
    "view": 0,
}


class Work(Frozen):
    """Operators of one kind and size.

    Attributes:
        kind: what they do.
        size: a product's number, rows, inner extent and columns; attention's heads of all rows, queries, keys and width of a
            head; the bytes that others read and write; nothing for a view.
        calls: how many there are.
    """

    kind: Kind
    size: tuple[int, ...] = ()
    calls: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _of_its_kind(self) -> Work:
        needed = EXTENTS.get(self.kind, 1)
        if len(self.size) != needed or min(self.size, default=0) < 0:
            raise ValueError(f"{shown(self.size)} is no size of {self.kind}, which has {needed} numbers from 0 on")
        return self


class Listed(Frozen):
    """The operators of one call.

    Attributes:
        work: by kind and size, without order.
        training: whether gradients are recorded and computed: then launching an operator takes longer.
    """

    work: tuple[Work, ...]
    training: bool = False

    @property
    def views(self) -> int:
        """How many views the call makes, which compute nothing."""
        return sum(each.calls for each in self.work if each.kind == "view")

    @property
    def launches(self) -> int:
        """How many operators the call starts, without views."""
        return sum(each.calls for each in self.work) - self.views


def listed(found: Iterable[tuple[Kind, tuple[int, ...]]], *, training: bool) -> Listed:
    """Count operators of the same kind and size."""
    counts = Counter(found)
    work = (Work(kind=kind, size=size, calls=calls) for (kind, size), calls in counts.items())
    return Listed(work=tuple(work), training=training)
