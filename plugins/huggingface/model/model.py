"""A Hugging Face language model: how it is made, and how it stands behind the harness's protocols, with its own cache.

Shapes: B batch, T tokens, S tokens in the cache, V vocabulary.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch._guards import detect_fake_mode
from torch._subclasses.fake_tensor import FakeTensor

from modbench.extend import ModelConfig, UsageError, optional_packages
from modbench.plugins.huggingface.model.loading import errors_in_one_line, load
from modbench.plugins.huggingface.model.spec import FAMILIES, Found, Spec

if TYPE_CHECKING:
    from transformers import DynamicCache


def build(found: Found, config: ModelConfig) -> nn.Module:
    """The library's model, its random weights drawn from torch's generator; weights are float32.

    On shapes alone (the meta device, fake tensors) no weights are read.

    Raises:
        UsageError: if the library is missing or cannot make the model, or weights are missing or damaged.
    """
    spec, said = found.spec, found.said
    source: object = found.path
    if found.kind == "family":
        with errors_in_one_line(said, "config"):
            source = _family(spec, config)
    elif not found.weights or _built_on_shapes():
        source = load(said, "config", found.path)
    made: nn.Module = load(said, "model", source, attn_implementation=spec["attn"], dtype=torch.float32)
    return made


def _family(spec: Spec, config: ModelConfig) -> object:
    """The config of a family in our shape; without dropout, which no other model here has."""
    library, name = optional_packages.load("transformers", "hf", f"model '{spec}'"), spec.name
    if name == "gpt2":
        if config.attention_width != config.d_model:
            raise UsageError(
                f"model 'hf:gpt2' divides d_model {config.d_model} among n_heads {config.n_heads}: leave out head_dim "
                f"{config.head_dim}."
            )
        return library.GPT2Config(
            vocab_size=config.vocab_size,
            n_positions=config.max_seq_len,
            n_embd=config.d_model,
            n_layer=config.n_layers,
            n_head=config.n_heads,
            n_inner=config.d_ff,
            tie_word_embeddings=config.tied,
            **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
            **dict.fromkeys(("bos_token_id", "eos_token_id"), None),
        )
    made: object = library.AutoConfig.for_model(
        FAMILIES[name],
        vocab_size=config.vocab_size,
        max_position_embeddings=config.max_seq_len,
        hidden_size=config.d_model,
        intermediate_size=config.d_ff,
        num_hidden_layers=config.n_layers,
        num_attention_heads=config.n_heads,
        num_key_value_heads=config.n_kv_heads,
        head_dim=config.head_dim,
        tie_word_embeddings=config.tied,
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), None),
    )
    return made


class Wrapper(nn.Module):
    """A module around a model of the library."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Wrapper:  # noqa: FBT001, FBT002  # torch's own
        """Move or convert, but leave computed tables (such as rotary frequencies) in float32, as the library does.

        `module.to(torch.bfloat16)` would round the frequencies: at position 1,000 an angle would be off by radians.
        """
        tables = [
            (part, name, part._buffers[name])  # noqa: SLF001  # the only way to a buffer that is not persistent
            for part in self.modules()
            for name in part._non_persistent_buffers_set  # noqa: SLF001
        ]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for part, name, before in tables:
            after = part._buffers[name]  # noqa: SLF001
            if before is not None and after is not None and after.dtype != before.dtype:
                part._buffers[name] = before.to(after.device)  # noqa: SLF001
        return self


def _built_on_shapes() -> bool:
    """Whether a module that is made now gets no values: on the meta device, or of fake tensors."""
    return torch.get_default_device().type == "meta" or detect_fake_mode() is not None


def called_with(tokens_BT: Tensor) -> AbstractContextManager[None]:
    """The context for a call of the library with these tokens."""
    return _on_shapes() if tokens_BT.is_meta or isinstance(tokens_BT, FakeTensor) else contextlib.nullcontext()


@contextlib.contextmanager
def _on_shapes() -> Iterator[None]:
    """Where tokens have no values, say what the library finds by looking at them: that no row holds several sequences.

    Otherwise it cannot go on (meta tensors), or makes a mask that a real call does not (fake tensors).
    """
    from transformers import masking_utils

    name = "find_packed_sequence_indices"
    found = getattr(masking_utils, name, None)
    if found is not None:
        setattr(masking_utils, name, lambda _position_ids: None)
    try:
        yield
    finally:
        if found is not None:
            setattr(masking_utils, name, found)


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
    kept: DynamicCache
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

    Attributes:
        max_len: most positions that it can serve, where it has a table of them; None: no limit.
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.max_len: int | None = getattr(inner.config, "max_position_embeddings", None)
        # The library renamed the argument in the course of version 5.
        named = inspect.signature(type(inner).forward).parameters
        self.cache_name = "cache" if "cache" in named else "past_key_values"
        self.keeps_some = "logits_to_keep" in named

    def forward(self, tokens_BT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Logits [B, T, V]; with `lengths_B`, those of padding on the right mean nothing."""
        more: dict[str, Any] = {}
        if lengths_B is not None:
            more["attention_mask"] = real_tokens(tokens_BT, lengths_B).long()
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

    def _new_cache(self) -> DynamicCache:
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
            real_BS = real_tokens(tokens_BT, position_B)
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


def real_tokens(tokens_BT: Tensor, lengths_B: Tensor) -> Tensor:
    """Bool [B, T]: which tokens are no padding."""
    return torch.arange(tokens_BT.shape[1], device=tokens_BT.device) < lengths_B.to(tokens_BT.device)[:, None]
