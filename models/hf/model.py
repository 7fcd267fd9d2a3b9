"""A Hugging Face language model behind the harness's protocols: forward, prefill and decode with its own cache.

Shapes: B batch, T tokens, S tokens in the cache, V vocabulary.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from modbench.models.hf.wrapper import Wrapper, called_with


@dataclass
class HfCache:
    """What the model keeps between decode steps.

    Attributes:
        owner: the model that made it.
        kept: the library's cache of keys and values, one entry for each layer.
        position_B: position of each row's next token.
        real_BS: which entries hold a real token; None where every row has the same length, so that nothing is padding.
        max_len: positions that there is room for; None: as many as memory holds.
    """

    owner: nn.Module
    kept: Any
    position_B: Tensor
    real_BS: Tensor | None
    max_len: int | None

    @property
    def length(self) -> int:
        """Entries of every row, padding included."""
        return int(self.kept.get_seq_length())

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values."""
        tensors = [tensor for layer in self.kept.layers for tensor in (layer.keys, layer.values)]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def mark(self) -> tuple[int, Tensor]:
        """The present state: entries, and positions."""
        return self.length, self.position_B.clone()

    def rewind(self, mark: tuple[int, Tensor]) -> None:
        """Return to a state that `mark` gave."""
        length, position_B = mark
        if self.length > length:
            self.kept.crop(length - self.length)  # a negative number: entries that are removed
        self.position_B.copy_(position_B)
        if self.real_BS is not None:
            self.real_BS = self.real_BS[:, :length]


class HfModel(Wrapper):
    """Wraps a causal language model of `transformers`.

    Args:
        inner: the model; its logits are passed on unchanged.
        max_len: most positions that it can serve, where it has a table of them; None: no limit.
    """

    def __init__(self, inner: Any, max_len: int | None = None) -> None:  # noqa: ANN401  # the library's classes have no types
        super().__init__()
        self.inner = inner
        self.max_len = max_len
        # The library renamed the argument in the course of version 5.
        named = inspect.signature(type(inner).forward).parameters
        self.cache_name = "cache" if "cache" in named else "past_key_values"
        self.keeps_some = "logits_to_keep" in named

    def forward(self, tokens_BT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Logits [B, T, V]; with `lengths_B`, those of padding on the right mean nothing."""
        more: dict[str, Any] = {}
        if lengths_B is not None:
            more["attention_mask"] = _real(tokens_BT, lengths_B).long()
        with called_with(tokens_BT):
            logits_BTV: Tensor = self.inner(input_ids=tokens_BT, use_cache=False, **more).logits
        return logits_BTV

    def why_no_decode(self) -> str | None:
        """Why decoding cannot be measured; None if it can."""
        kinds = {type(layer).__name__ for layer in self._new_cache().layers}
        if kinds == {"DynamicLayer"}:
            return None
        return (
            f"its cache has layers of another kind than keys and values of all tokens ({', '.join(sorted(kinds)) or 'none'}), "
            "which cannot return to an earlier state"
        )

    def _new_cache(self) -> Any:  # noqa: ANN401  # the library's class
        from transformers import DynamicCache

        return DynamicCache(config=self.inner.config)

    @torch.no_grad()
    def prefill(
        self, tokens_BT: Tensor, lengths_B: Tensor | None = None, *, max_len: int | None = None
    ) -> tuple[Tensor, HfCache]:
        """Read prompts; logits [B, V] after the last real token of each row, and the cache to decode with.

        Args:
            tokens_BT: int64 prompts, padded on the right.
            lengths_B: their real lengths.
            max_len: positions to make room for. The cache grows with every token; the number is only checked.

        Raises:
            ValueError: for lengths that do not fit, and for more positions than the model has.
        """
        b, t = tokens_BT.shape
        most = max(t, max_len or 0)
        if self.max_len is not None and most > self.max_len:
            raise ValueError(f"{most} positions are more than the {self.max_len} that this model has")
        if lengths_B is not None and (lengths_B.shape != (b,) or int(lengths_B.min()) < 1 or int(lengths_B.max()) > t):
            raise ValueError(f"lengths must be [{b}] numbers from 1 to {t}; got {lengths_B.tolist()}")
        kept, more = self._new_cache(), dict[str, Any]()
        ragged = lengths_B is not None and int(lengths_B.min()) < t
        position_B = torch.full((b,), t, device=tokens_BT.device)
        keep, real_BS = 1, None
        if ragged:
            assert lengths_B is not None
            position_B = lengths_B.to(tokens_BT.device).clone()
            real_BS = _real(tokens_BT, position_B)
            more["attention_mask"] = real_BS.long()
            keep = t - int(position_B.min()) + 1
        if self.keeps_some:  # the head runs over the last positions only, as in the library's own generation
            more["logits_to_keep"] = keep
        logits_BKV = self.inner(input_ids=tokens_BT, use_cache=True, **{self.cache_name: kept}, **more).logits
        at_B = position_B - 1 - (t - logits_BKV.shape[1])
        logits_BV = logits_BKV[torch.arange(b, device=tokens_BT.device), at_B]
        return logits_BV, HfCache(self, kept, position_B, real_BS, self.max_len)

    @torch.no_grad()
    def decode(self, tokens_B: Tensor, cache: HfCache) -> Tensor:
        """Logits [B, V] after one more token in each row; the cache gets it.

        Raises:
            ValueError: if the cache belongs to another model or is full, or the tokens are not one for each row.
        """
        if cache.owner is not self:
            raise ValueError("this cache belongs to another model: decode with the model that prefilled it")
        if tokens_B.shape != cache.position_B.shape:
            raise ValueError(
                f"decode takes {len(cache.position_B)} tokens, one for each row; got {list(tokens_B.shape)}"
            )
        if cache.max_len is not None and cache.length >= cache.max_len:
            raise ValueError(f"the cache is full: this model has {cache.max_len} positions")
        more: dict[str, Any] = {"position_ids": cache.position_B[:, None]}
        if cache.real_BS is not None:
            cache.real_BS = torch.cat([cache.real_BS, torch.ones_like(cache.real_BS[:, :1])], dim=1)
            more["attention_mask"] = cache.real_BS.long()
        logits_B1V = self.inner(
            input_ids=tokens_B[:, None], use_cache=True, **{self.cache_name: cache.kept}, **more
        ).logits
        cache.position_B += 1
        logits_BV: Tensor = logits_B1V[:, -1]
        return logits_BV


def _real(tokens_BT: Tensor, lengths_B: Tensor) -> Tensor:
    """Bool [B, T]: which tokens are no padding."""
    return torch.arange(tokens_BT.shape[1], device=tokens_BT.device) < lengths_B.to(tokens_BT.device)[:, None]
