"""What decoding keeps of earlier tokens: keys and values, per block and row.

A `BlockCache` holds the keys and values of the tokens that one block processed, and carries out its decode policy: a routed block
stores nothing for a token that bypassed it, so each row is compact and has its own length. Storing zeros would not be the same,
since a score of 0 still takes a share of the softmax. `Cache` is what a whole model keeps.

Shapes: B batch, T tokens, k selected tokens, R rows of a step, L layers, K key/value heads, S slots, d a head's width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modbench.harness.core.config import ModelConfig

# Extra room in a routed block whose shapes are fixed, so that its cache cannot grow: participation varies.
SLACK = 1.25


class Rows(NamedTuple):
    """The rows of a batch that a block processes in one decode step.

    Attributes:
        index_R: their indices; None: all, in order.
        host: the same on the host, where known.
        valid_R: False for a row that is computed only to keep the shape; None: all are valid.
        empty: whether there are no rows, as far as the host knows.
    """

    index_R: Tensor | None = None
    host: list[int] | None = None
    valid_R: Tensor | None = None
    empty: bool = False


class BlockCache:
    """Keys and values of one block, its decode policy, and counts of tokens.

    A window and a convolution keep a ring of the last tokens; the keys of a convolution have width 0.

    Args:
        config: shape and decode policy.
        batch_size: rows.
        max_len: longest sequence that will be decoded.
        like: gives device and dtype.
        share: share of the tokens whose keys and values this block keeps; 1 in a dense block.
        routed: whether tokens may bypass this block.
    """

    def __init__(
        self,
        config: ModelConfig,
        batch_size: int,
        max_len: int,
        like: Tensor,
        *,
        share: float = 1.0,
        routed: bool = False,
    ) -> None:
        self.policy = config.decode_policy
        self.static = self.policy != "host"
        self.batch_size, self.max_len = batch_size, max_len
        self.ring = config.reach is not None
        self.n_rows = _ceil(config.row_share * batch_size) if routed else batch_size
        slots = max_len if config.reach is None else config.reach
        if share < 1 and not self.ring:  # under the host policy the cache grows if more tokens come than expected
            spare = {"host": 1.0, "budget": SLACK, "masked": 1 / share}[self.policy]
            slots = min(slots, _ceil(share * spare * max_len))
        self.slots = min(slots, max_len)
        # One slot more where shapes are fixed: invalid rows write there, and it is never read.
        convolves = config.mixer == "convolution"
        shape = (batch_size, config.n_heads if convolves else config.n_kv_heads, self.slots + self.static)
        self.v_BKSd = like.new_zeros(*shape, config.head_dim)
        self.k_BKSd = like.new_zeros(*shape, 0 if convolves else config.head_dim)
        self.length_B = torch.zeros(batch_size, dtype=torch.int64, device=like.device)
        # Under the host policy: the host's copy, and tokens that all rows took since `length_B` was written, which saves
        # the device a write at every step.
        self.lengths, self.since = [0] * batch_size, 0
        self.seen, self.counts_steps = 0, False  # a dense block counts no step, and has no participation
        self.processed = torch.zeros((), dtype=torch.int64, device=like.device)
        self.overflow = torch.zeros((), dtype=torch.int64, device=like.device)

    @property
    def nbytes(self) -> int:
        """Bytes allocated for keys and values."""
        return self.k_BKSd.nbytes + self.v_BKSd.nbytes

    def count(self, seen: int, processed: Tensor | int) -> None:
        """Add tokens of a prompt that reached the block, and tokens that it processed."""
        self.seen += seen
        self.processed += processed

    def count_step(self, processed: Tensor | int) -> None:
        """Add tokens that the block processed in one step. Every row's token reached it: `Cache.steps` counts those."""
        self.counts_steps = True
        self.processed += processed

    def admit(self, selected_B: Tensor, r_B: Tensor, *, compact: bool = True) -> Rows:
        """The rows to process in this step, by the decode policy.

        `host` reads the selection on the host. `budget` takes the `n_rows` highest scores of the selected rows; the others
        bypass the block and are counted as overflow, as are rows whose cache is full. `masked` computes all rows.
        """
        if not self.static:
            host = [row for row, selected in enumerate(selected_B.tolist()) if selected]
            self.count_step(len(host))
            some = 0 < len(host) < self.batch_size
            # Found again on the device: a copy from the host would make the host wait a second time.
            here_R = torch.nonzero_static(selected_B, size=len(host)).flatten() if some else None
            return Rows(here_R, host, empty=not host)
        fits_B = selected_B & (self.length_B < self.slots) if compact and not self.ring else selected_B
        if self.policy == "masked" or self.n_rows >= self.batch_size:
            index_R: Tensor | None = None
            valid_R = fits_B
        else:
            index_R = r_B.masked_fill(~fits_B, -torch.inf).topk(self.n_rows, sorted=False).indices
            valid_R = fits_B[index_R]
        self.count_step(valid_R.sum())
        self.overflow += selected_B.sum() - valid_R.sum()
        return Rows(index_R, None, valid_R)

    def fill(self, k_BKTd: Tensor, v_BKTd: Tensor, lengths_B: Tensor | None, lengths: list[int] | None = None) -> None:
        """Keep the keys and values of a prompt, the first `lengths_B` of each row, `lengths` on the host where known."""
        b, _, t, _ = k_BKTd.shape
        if lengths is None:
            lengths = [t] * b if lengths_B is None else lengths_B.tolist()
        self.lengths, self.since = list(lengths), 0
        # Filled on the device: a copy from the host would make the host wait, once for each block.
        self.length_B.fill_(t) if lengths_B is None else self.length_B.copy_(lengths_B)
        if self.ring and t > self.slots:
            k_BKTd, v_BKTd = self._last(k_BKTd), self._last(v_BKTd)
        elif not self.ring:
            self._make_room(max(self.lengths))
        n = min(t, self.slots)
        self.k_BKSd[:, :, :n], self.v_BKSd[:, :, :n] = k_BKTd[:, :, :n], v_BKTd[:, :, :n]

    def _last(self, x_BKTd: Tensor) -> Tensor:
        """The last tokens of each row, token p in slot p modulo S, where a step would have put it."""
        slot_S = torch.arange(self.slots, device=x_BKTd.device)
        token_BS = slot_S + self.slots * ((self.length_B[:, None] - 1 - slot_S) // self.slots)
        return torch.take_along_dim(x_BKTd, token_BS.clamp(min=0)[:, None, :, None], dim=2)

    def _make_room(self, wanted: int) -> None:
        """Grow under the host policy; fixed shapes cannot.

        Raises:
            ValueError: if a block selects more tokens of a prompt than its fixed cache holds.
        """
        if wanted <= self.slots:
            return
        if self.static:
            raise ValueError(
                f"a block selects {wanted} tokens of a prompt, but its fixed cache has {self.slots} slots: raise capacity "
                "or max_len, or use decode_policy='host', whose cache grows"
            )
        grown = min(self.max_len, max(wanted, self.slots + self.slots // 4 + 8))
        more = (0, 0, 0, grown - self.slots)
        self.k_BKSd, self.v_BKSd, self.slots = F.pad(self.k_BKSd, more), F.pad(self.v_BKSd, more), grown

    def by_slot(self, weight_RHW: Tensor, rows: Rows) -> Tensor:
        """Weights of the last W tokens of each row, the newest last, in the order of the ring's slots: [R, H, S]."""
        held = {self.lengths[row] for row in (range(self.batch_size) if rows.host is None else rows.host)}
        if not self.static and len(held) == 1:  # equal lengths
            return weight_RHW.roll(held.pop(), -1)[..., : self.slots]
        length_B = self.length_B + self.since
        length_R = length_B if rows.index_R is None else length_B[rows.index_R]
        index_RS = (torch.arange(self.slots, device=length_R.device) - length_R[:, None]) % weight_RHW.shape[-1]
        return weight_RHW.gather(-1, index_RS[:, None].expand(-1, weight_RHW.shape[1], -1))

    def append(self, k_RK1d: Tensor, v_RK1d: Tensor, rows: Rows) -> tuple[Tensor, Tensor, Tensor | None]:
        """Keep one more token of each of these rows; return keys, values and mask of all that they may attend to."""
        k_RK1d, v_RK1d = k_RK1d.to(self.k_BKSd.dtype), v_RK1d.to(self.k_BKSd.dtype)  # autocast computes lower
        return (self._append_static if self.static else self._append_host)(k_RK1d, v_RK1d, rows)

    def _append_host(self, k_RK1d: Tensor, v_RK1d: Tensor, rows: Rows) -> tuple[Tensor, Tensor, Tensor | None]:
        numbers = range(self.batch_size) if rows.host is None else rows.host
        before = [self.lengths[row] for row in numbers]
        if not self.ring:
            self._make_room(max(before) + 1)
        for row in numbers:
            self.lengths[row] += 1
        n, since = min(max(before) + 1, self.slots), self.since
        pick = slice(None) if rows.index_R is None else rows.index_R
        held_R = self.length_B if rows.index_R is None else self.length_B[rows.index_R]
        if rows.index_R is None:
            self.since += 1
        else:
            self.length_B.index_copy_(0, rows.index_R, held_R + 1)
        if min(before) == max(before):  # equal lengths: a slice, and no mask
            at = before[0] % self.slots
            self.k_BKSd[pick, :, at], self.v_BKSd[pick, :, at] = k_RK1d[:, :, 0], v_RK1d[:, :, 0]
            return self.k_BKSd[pick, :, :n], self.v_BKSd[pick, :, :n], None
        row_R = torch.arange(self.batch_size, device=k_RK1d.device) if rows.index_R is None else rows.index_R
        before_R = held_R + since
        at_R = before_R % self.slots
        self.k_BKSd[row_R, :, at_R], self.v_BKSd[row_R, :, at_R] = k_RK1d[:, :, 0], v_RK1d[:, :, 0]
        mask_RS = torch.arange(n, device=k_RK1d.device) <= before_R[:, None]
        return self.k_BKSd[pick, :, :n], self.v_BKSd[pick, :, :n], mask_RS[:, None, None]

    def _append_static(self, k_RK1d: Tensor, v_RK1d: Tensor, rows: Rows) -> tuple[Tensor, Tensor, Tensor | None]:
        row_R = torch.arange(self.batch_size, device=k_RK1d.device) if rows.index_R is None else rows.index_R
        valid_R = torch.ones_like(row_R, dtype=torch.bool) if rows.valid_R is None else rows.valid_R
        before_R = self.length_B[row_R]
        at_R = (before_R % self.slots).masked_fill(~valid_R, self.slots)
        self.k_BKSd[row_R, :, at_R], self.v_BKSd[row_R, :, at_R] = k_RK1d[:, :, 0], v_RK1d[:, :, 0]
        self.length_B.index_add_(0, row_R, valid_R.long())
        # An invalid row with an empty cache must attend to something, or its NaN would spread.
        held_R = (before_R + valid_R).clamp(min=1, max=self.slots)
        mask_RS = torch.arange(self.slots, device=k_RK1d.device) < held_R[:, None]
        pick = slice(None) if rows.index_R is None else row_R
        return self.k_BKSd[pick, :, : self.slots], self.v_BKSd[pick, :, : self.slots], mask_RS[:, None, None]


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


def _ceil(number: float) -> int:
    """Round up, to at least 1; tolerates products such as 0.29 * 100 = 29.000000000000004."""
    return max(1, math.ceil(number - 1e-9))
