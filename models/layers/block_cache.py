"""What one block keeps between decode steps: keys and values of the tokens that it processed; and its decode policy.

A routed block stores nothing for a token that bypassed it: each row is compact and has its own length. Storing zeros would
not be the same, since a score of 0 still takes a share of the softmax.

Shapes: B batch, R rows that a step processes, T tokens, K key/value heads, S slots, d a head's width.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

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
        self.ring = config.mixer == "window"
        self.n_rows = _ceil(config.row_share * batch_size) if routed else batch_size
        slots = config.window if self.ring else max_len
        if share < 1 and not self.ring:  # under the host policy the cache grows if more tokens come than expected
            spare = {"host": 1.0, "budget": SLACK, "masked": 1 / share}[self.policy]
            slots = min(slots, _ceil(share * spare * max_len))
        self.slots = min(slots, max_len)
        # One slot more where shapes are fixed: invalid rows write there, and it is never read.
        shape = (batch_size, config.n_kv_heads, self.slots + self.static, config.head_dim)
        self.k_BKSd, self.v_BKSd = like.new_zeros(shape), like.new_zeros(shape)
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
        return 2 * self.k_BKSd.numel() * self.k_BKSd.element_size()

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
        if lengths_B is None:
            self.lengths = [t] * b
        else:
            self.lengths = lengths_B.tolist() if lengths is None else list(lengths)
        self.since = 0
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
        shape = (*self.k_BKSd.shape[:2], grown, self.k_BKSd.shape[3])
        for name in ("k_BKSd", "v_BKSd"):
            old = getattr(self, name)
            new = old.new_zeros(shape)
            new[:, :, : self.slots] = old
            setattr(self, name, new)
        self.slots = grown

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
        held_R = self.length_B if rows.index_R is None else self.length_B[rows.index_R]
        if rows.index_R is None:
            self.since += 1
        else:
            self.length_B.index_copy_(0, rows.index_R, held_R + 1)
        if min(before) == max(before):  # equal lengths: a slice, and no mask
            at = before[0] % self.slots
            if rows.index_R is None:
                self.k_BKSd[:, :, at], self.v_BKSd[:, :, at] = k_RK1d[:, :, 0], v_RK1d[:, :, 0]
                return self.k_BKSd[:, :, :n], self.v_BKSd[:, :, :n], None
            self.k_BKSd[rows.index_R, :, at], self.v_BKSd[rows.index_R, :, at] = k_RK1d[:, :, 0], v_RK1d[:, :, 0]
            return self.k_BKSd[rows.index_R, :, :n], self.v_BKSd[rows.index_R, :, :n], None
        row_R = torch.arange(self.batch_size, device=k_RK1d.device) if rows.index_R is None else rows.index_R
        before_R = held_R + since
        at_R = before_R % self.slots
        self.k_BKSd[row_R, :, at_R], self.v_BKSd[row_R, :, at_R] = k_RK1d[:, :, 0], v_RK1d[:, :, 0]
        mask_RS = torch.arange(n, device=k_RK1d.device) <= before_R[:, None]
        pick = slice(None) if rows.index_R is None else rows.index_R
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


def _ceil(number: float) -> int:
    """Round up, to at least 1; tolerates products such as 0.29 * 100 = 29.000000000000004."""
    return max(1, math.ceil(number - 1e-9))
