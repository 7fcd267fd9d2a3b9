"""The cache of a routed layer: keys and values of the tokens that it processed, and of no others; each row has its own length.

It takes the place of one layer in a `DynamicCache` of transformers, so `generate` needs no cache of ours. Rows are padded to the
longest of them, and what is padding is masked.

Shapes: B batch, H heads, L stored tokens, R rows that process something now, k new tokens of each, D head width.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.cache_utils import DynamicLayer


class Keys(NamedTuple):
    """The keys that new tokens may see.

    Attributes:
        place_RL: their places in the sequence, padding included, ascending.
        valid_RL: False where a row is padded; None: nowhere.
    """

    place_RL: Tensor
    valid_RL: Tensor | None


class RoutedStore(DynamicLayer):  # type: ignore[misc]  # transformers is not seen by the type checker
    """Keys, values and places of processed tokens.

    Attributes:
        seen: tokens of the sequence so far, processed or not: what the model around takes for the length.
        lengths: stored tokens of each row.
    """

    is_croppable = True

    def __init__(self) -> None:
        super().__init__()
        self.is_initialized = False
        self.seen = 0
        self.lengths: list[int] = []
        self._place_BL: Tensor | None = None
        # Of the call that is under way: rows, slots [R, k] and valid [R, k], until the layer's attention brings its keys.
        self._next: tuple[Tensor | None, Tensor, Tensor | None] | None = None

    def see(self, tokens: int, batch: int) -> None:
        """Count tokens that the layer has been given, whether it processes them or not."""
        self.seen += tokens
        if not self.lengths:
            self.lengths = [0] * batch

    def admit(self, row_R: Tensor | None, place_Rk: Tensor, valid_Rk: Tensor | None, counts: list[int]) -> Keys:
        """Make room for new tokens, before the layer computes them.

        Args:
            row_R: their rows; None: all.
            place_Rk: their places in the sequence, ascending.
            valid_Rk: False for what only fills the shape, at the end of a row; None: all count.
            counts: valid tokens of each row of the whole batch.

        Returns:
            What these rows have stored, the new tokens included.
        """
        start_R = torch.tensor(self.lengths, device=place_Rk.device)
        start_R = start_R if row_R is None else start_R[row_R]
        self.lengths = [old + new for old, new in zip(self.lengths, counts, strict=True)]
        slot_Rk = start_R[:, None] + torch.arange(place_Rk.shape[1], device=place_Rk.device)
        self._next = (row_R, slot_Rk, valid_Rk)
        if self._place_BL is None:
            self._place_BL = place_Rk.new_zeros(len(self.lengths), 0)
        self._place_BL = self._written(self._place_BL, place_Rk)
        length_B = torch.tensor(self.lengths, device=place_Rk.device)
        (place_RL, length_R), longest = _rows(row_R, self._place_BL, length_B), self._longest(row_R)
        even = all(length == longest for length in self._lengths_of(row_R))
        valid_RL = None if even else torch.arange(longest, device=place_Rk.device) < length_R[:, None]
        return Keys(place_RL[:, :longest], valid_RL)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401, ARG002  # transformers' signature
        """Store the keys and values [R, H, k, D] of the tokens that were admitted; return all of these rows."""
        assert self._next is not None, "admit comes first"
        row_R = self._next[0]
        if not self.is_initialized:
            self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
            empty = (len(self.lengths), key_states.shape[1], 0)
            self.keys = key_states.new_zeros(*empty, key_states.shape[3])
            self.values = value_states.new_zeros(*empty, value_states.shape[3])
        self.keys = self._written(self.keys, key_states)
        self.values = self._written(self.values, value_states)
        self._next = None
        longest = self._longest(row_R)
        keys, values = _rows(row_R, self.keys, self.values)
        return keys[:, :, :longest], values[:, :, :longest]

    def _written(self, stored: Tensor, new: Tensor) -> Tensor:
        """Stored [B, L] or [B, H, L, D] with new [R, k] or [R, H, k, D] in the slots that are next, longer where needed."""
        assert self._next is not None
        row_R, slot_Rk, valid_Rk = self._next
        length = stored.shape[-1] if stored.ndim == 2 else stored.shape[-2]
        whole = row_R is None and valid_Rk is None
        if whole and length == 0:
            return new
        grow = max(self.lengths) - length
        if grow > 0:
            stored = F.pad(stored, (0, grow) if stored.ndim == 2 else (0, 0, 0, grow))
        elif whole or grow == 0:
            stored = stored.clone()  # what an earlier call returned may be a view of it
        rows_R = torch.arange(len(self.lengths), device=new.device) if row_R is None else row_R
        row_Rk = rows_R[:, None].expand_as(slot_Rk)
        valid_Rk = torch.ones_like(slot_Rk, dtype=torch.bool) if valid_Rk is None else valid_Rk
        row_N, slot_N = row_Rk[valid_Rk], slot_Rk[valid_Rk]
        if stored.ndim == 2:
            stored[row_N, slot_N] = new[valid_Rk]
        else:
            stored[row_N, :, slot_N] = new.transpose(1, 2)[valid_Rk]
        return stored

    def _lengths_of(self, row_R: Tensor | None) -> list[int]:
        return self.lengths if row_R is None else [self.lengths[row] for row in row_R.tolist()]

    def _longest(self, row_R: Tensor | None) -> int:
        return max(self._lengths_of(row_R))

    def get_seq_length(self, *args: Any) -> int:  # noqa: ANN401, ARG002  # older versions pass positions
        """Tokens seen: places of the next ones count from here."""
        return self.seen

    def get_mask_sizes(self, query_length: int | Tensor) -> tuple[int, int]:
        """Length and offset of the mask that the model around makes, over all tokens."""
        return self.seen + (query_length if isinstance(query_length, int) else query_length.shape[0]), 0

    def reset(self) -> None:
        """Forget everything."""
        self.__init__()  # type: ignore[misc]  # transformers' own layers end up as new, too

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last `-tokens_to_remove` tokens of every row, as many of them as are stored."""
        if tokens_to_remove > 0:
            raise ValueError(f"crop({tokens_to_remove}): only a number of tokens to remove, below 0, is known")
        self.seen = max(0, self.seen + tokens_to_remove)
        if self._place_BL is None:
            return
        length_B = torch.tensor(self.lengths, device=self._place_BL.device)
        at_L = torch.arange(self._place_BL.shape[1], device=length_B.device)
        kept_BL = (self._place_BL < self.seen) & (at_L < length_B[:, None])
        self.lengths = kept_BL.sum(1).tolist()
        longest = max(self.lengths)
        self._place_BL = self._place_BL[:, :longest]
        if self.is_initialized:
            self.keys, self.values = self.keys[:, :, :longest], self.values[:, :, :longest]

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Rows in another order, for beams."""
        self.batch_select_indices(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows."""
        chosen = torch.arange(len(self.lengths))[indices.cpu()].tolist()
        self.lengths = [self.lengths[row] for row in chosen]
        if self._place_BL is not None:
            self._place_BL = self._place_BL[chosen]
        if self.is_initialized:
            self.keys, self.values = self.keys[chosen], self.values[chosen]

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Every row `repeats` times."""
        self.batch_select_indices(torch.arange(len(self.lengths)).repeat_interleave(repeats))


def store_of(cache: Any, layer: int) -> RoutedStore:  # noqa: ANN401  # a Cache of transformers
    """The store of a layer in a cache, put there at first use.

    Raises:
        ValueError: if the cache has fixed shapes, or has been filled by another model.
    """
    while len(cache.layers) <= layer:
        cache.layers.append(DynamicLayer())
    found = cache.layers[layer]
    if isinstance(found, RoutedStore):
        return found
    if type(found) is not DynamicLayer or found.is_initialized or getattr(cache, "offloading", False):
        raise ValueError(
            f"layer {layer} is routed, which needs an empty DynamicCache: it stores a different number of tokens for each row. "
            "Leave cache_implementation unset."
        )
    cache.layers[layer] = made = RoutedStore()
    return made


def _rows(row_R: Tensor | None, *parts: Tensor) -> tuple[Tensor, ...]:
    return parts if row_R is None else tuple(part[row_R] for part in parts)
