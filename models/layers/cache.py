"""What a model keeps between decode steps: the caches of its blocks, positions, and counts.

Shapes: B batch, K key/value heads, S slots, d a head's width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from modbench.models.layers.block_cache import BlockCache


class Mark(NamedTuple):
    """The state of a cache.

    Attributes:
        position_B: position of each row's next token.
        positions: the same on the host.
        lengths: of each block, on the device and on the host.
        held: keys and values of windows.
    """

    position_B: Tensor
    positions: list[int]
    lengths: list[tuple[Tensor, list[int]]]
    held: list[tuple[Tensor, Tensor] | None]


@dataclass
class Cache:
    """What a model keeps between decode steps.

    Attributes:
        owner: the model that made it.
        blocks: one cache for each block that has one, in order.
        position_B: position of each row's next token.
        positions: the same on the host.
        max_len: positions that there is room for.
        plan: what a model decided once for each row, such as its depth.
        steps: decode steps since the counts were reset, on the device, so that a replayed graph counts its own.
    """

    owner: nn.Module
    blocks: list[BlockCache]
    position_B: Tensor
    positions: list[int]
    max_len: int
    plan: dict[str, Any] = field(default_factory=dict)
    steps: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.steps = torch.zeros((), dtype=torch.int64, device=self.position_B.device)

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values."""
        return sum(block.nbytes for block in self.blocks)

    def participation(self) -> list[float | None]:
        """Share of the tokens that each routed block processed; None where it counted none. Synchronises."""
        steps = int(self.steps)
        seen = [block.seen + steps * block.batch_size * block.counts_steps for block in self.blocks]
        return [int(block.processed) / n if n else None for block, n in zip(self.blocks, seen, strict=True)]

    def overflow(self) -> list[int]:
        """Tokens that each block would have processed, had its fixed shapes had room. Synchronises."""
        return [int(block.overflow) for block in self.blocks]

    def advance(self) -> None:
        """Update the host's copy of the positions after a step."""
        self.positions = [position + 1 for position in self.positions]

    def mark(self, *, windows: bool = True) -> Mark:
        """The present state, for `rewind`.

        Slots written later need no copy, since nothing reads beyond a row's length. A window overwrites old slots, which
        are therefore copied, unless `windows` is false because only times matter.
        """
        held = [
            (block.k_BKSd.clone(), block.v_BKSd.clone()) if block.ring and windows else None for block in self.blocks
        ]
        lengths = [(block.length_B + block.since, list(block.lengths)) for block in self.blocks]
        return Mark(self.position_B.clone(), list(self.positions), lengths, held)

    def rewind(self, mark: object) -> None:
        """Return to a marked state, in place, so that a captured graph sees it too. Counts stay as they are."""
        assert isinstance(mark, Mark)
        self.position_B.copy_(mark.position_B)
        self.positions = list(mark.positions)
        for block, (length_B, on_host), held in zip(self.blocks, mark.lengths, mark.held, strict=True):
            block.length_B.copy_(length_B)
            block.lengths, block.since = list(on_host), 0
            if held is not None:
                block.k_BKSd.copy_(held[0])
                block.v_BKSd.copy_(held[1])

    def reset_counts(self) -> None:
        """Start counting participation and overflow from 0."""
        self.steps.zero_()
        for block in self.blocks:
            block.seen = 0
            block.processed.zero_()
            block.overflow.zero_()
