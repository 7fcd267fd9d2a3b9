"""The decoder around the blocks: embedding, blocks, final norm, head; and the block itself.

Shapes: B batch, T tokens, D width, V vocabulary, C classes, R rows at hand.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from modbench.harness.core.config import ModelConfig
from modbench.models.layers.attention import Attention, RotaryTable
from modbench.models.layers.cache import BlockCache, Cache, Rows
from modbench.models.layers.convolution import DynamicConvolution
from modbench.models.layers.decisions import Observed, Watch
from modbench.models.layers.init import draw_weights
from modbench.models.layers.mlp import MLP
from modbench.models.layers.span import span
from modbench.models.layers.trip import Trip


class Block(nn.Module):
    """Pre-norm mixer and MLP. `delta` is what a router gates: the block without its outer residual."""

    def __init__(self, config: ModelConfig, mlp: nn.Module | None = None) -> None:
        super().__init__()
        self.config = config
        self.norm_attention = nn.RMSNorm(config.d_model, eps=1e-6)
        convolves = config.mixer == "convolution"
        self.attention: Attention | DynamicConvolution = DynamicConvolution(config) if convolves else Attention(config)
        self.norm_mlp = nn.RMSNorm(config.d_model, eps=1e-6)
        self.mlp = MLP(config) if mlp is None else mlp

    def mix(self, x_BTD: Tensor, trip: Trip, cache: BlockCache | None = None, rows: Rows | None = None) -> Tensor:
        """The mixer's part of the block: over a sequence, or (with `rows`) one token against the cache."""
        if rows is None:
            return self.attention(self.norm_attention(x_BTD), trip, cache)  # type: ignore[no-any-return]  # torch types calls as Any
        assert isinstance(self.attention, Attention)
        assert cache is not None
        return self.attention.step(self.norm_attention(x_BTD), trip, cache, rows)

    def think(self, x_BTD: Tensor, trip: Trip) -> Tensor:
        """The MLP's part of the block."""
        return self.mlp(self.norm_mlp(x_BTD), trip)  # type: ignore[no-any-return]  # torch types calls as Any

    def delta(self, x_BTD: Tensor, trip: Trip, cache: BlockCache | None = None, rows: Rows | None = None) -> Tensor:
        """f(x): the mixer, then the MLP on what the mixer made of x."""
        mixed_BTD = self.mix(x_BTD, trip, cache, rows)
        return mixed_BTD + self.think(x_BTD + mixed_BTD, trip)

    def forward(self, x_BTD: Tensor, trip: Trip, cache: BlockCache | None = None) -> Tensor:
        """X + f(x); with a cache, a prompt's keys and values are kept."""
        return x_BTD + self.delta(x_BTD, trip, cache)

    def step(self, x_B1D: Tensor, trip: Trip, cache: BlockCache) -> Tensor:
        """One new token of every row."""
        return x_B1D + self.delta(x_B1D, trip, cache, Rows())

    def new_cache(self, batch_size: int, max_len: int, like: Tensor) -> BlockCache:
        """An empty cache that fits this block."""
        return BlockCache(self.config, batch_size, max_len, like)

    def set_progress(self, done: float) -> None:
        """Told what share of training is done, for what changes with it."""


class Decoder(nn.Module):
    """Tokens [B, T] to logits [B, T, V] through the given blocks; to [B, C] where the model is a classifier."""

    def __init__(self, config: ModelConfig, blocks: Iterable[Block]) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.rotary = RotaryTable(config)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.RMSNorm(config.d_model, eps=1e-6)
        out = config.n_classes if config.bidirectional else config.vocab_size
        self.head = None if config.tied and not config.bidirectional else nn.Linear(config.d_model, out, bias=False)
        self.finish()

    def finish(self) -> None:
        """Draw the weights, when all modules are there."""
        draw_weights(self, self.config)

    @property
    def has_auxiliary(self) -> bool:
        """Whether training adds a loss to the cross-entropy: `forward(tokens, auxiliary=True)` gives it."""
        return any(getattr(module, "has_loss", False) for module in self.modules())

    def forward(
        self,
        tokens_BT: Tensor,
        lengths_B: Tensor | None = None,
        *,
        causal: bool = False,
        prompt_B: Tensor | None = None,
        auxiliary: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Logits of the next token at every position, or of the classes.

        Args:
            tokens_BT: int64.
            lengths_B: real tokens of each row, the rest being pads on the right; their logits mean nothing.
            causal: routers decide without the future, as at decode; default top-k over the sequence, as in training.
            prompt_B: tokens that a whole-input gate may read; default `gate_tokens`.
            auxiliary: return also the sum of the auxiliary losses, a scalar.

        Raises:
            ValueError: if the tokens are not int64 [B, T], more than the rotary table serves, or the lengths do not fit;
                or if the model cannot route causally and is asked to.
        """
        trip = self.trip(tokens_BT, lengths_B, causal=causal, prompt_B=prompt_B, auxiliary=auxiliary)
        x_BTD = self.through(self.embed(tokens_BT), trip)
        logits = self.read(self.pool(x_BTD, trip) if self.config.bidirectional else x_BTD)
        if not auxiliary:
            return logits
        losses = trip.auxiliary or []
        return logits, torch.stack(losses).sum() if losses else logits.new_zeros(())

    @torch.no_grad()
    def observe(
        self,
        tokens_BT: Tensor,
        lengths_B: Tensor | None = None,
        *,
        causal: bool = False,
        prompt_B: Tensor | None = None,
        flip_LBT: Tensor | None = None,
    ) -> Observed:
        """The same as `forward`, and what every router decided. `flip_LBT` reverses single decisions of token routers."""
        watch = Watch(flip_LBT)
        trip = replace(self.trip(tokens_BT, lengths_B, causal=causal, prompt_B=prompt_B), watch=watch)
        x_BTD = self.through(self.embed(tokens_BT), trip)
        logits = self.read(self.pool(x_BTD, trip) if self.config.bidirectional else x_BTD)
        return Observed(logits, watch.decisions, getattr(self, "realised", None))

    def trip(
        self,
        tokens_BT: Tensor,
        lengths_B: Tensor | None,
        *,
        causal: bool,
        prompt_B: Tensor | None = None,
        auxiliary: bool = False,
    ) -> Trip:
        """Check the tokens, and say what blocks must know of them."""
        if tokens_BT.ndim != 2 or tokens_BT.dtype != torch.int64:
            raise ValueError(f"tokens must be int64 [B, T]; got {tokens_BT.dtype} {list(tokens_BT.shape)}")
        b, t = tokens_BT.shape
        if b < 1 or t < 1:
            raise ValueError(f"tokens [{b}, {t}] are none: give at least one row of at least one token")
        if lengths_B is not None:
            _check_lengths(lengths_B, b, t)
        if prompt_B is not None:
            _check_lengths(prompt_B, b, t)
        return Trip(
            rotary=self.rotary(t),
            position_BT=torch.arange(t, device=tokens_BT.device)[None],
            lengths_B=lengths_B,
            causal=causal,
            prompt_B=prompt_B,
            later=self.rotary.later,
            tokens_BT=tokens_BT if auxiliary else None,
            auxiliary=[] if auxiliary else None,
        )

    def embed(self, tokens: Tensor) -> Tensor:
        """Tokens [...] to the residual stream [..., D], of standard deviation 1 at the start."""
        x: Tensor = self.embedding(tokens)
        return x * self.embedding.embedding_dim**0.5 if self.config.tied else x  # tied rows are head-sized

    def through(self, x_BTD: Tensor, trip: Trip, cache: Cache | None = None) -> Tensor:
        """The stack over a sequence; with a cache, what later tokens need is kept there."""
        for i, block in enumerate(self.blocks):
            with span(type(block).__name__):
                x_BTD = block(x_BTD, trip, cache.blocks[i] if cache else None)
        return x_BTD

    def step_through(self, x_B1D: Tensor, trip: Trip, cache: Cache) -> Tensor:
        """The stack over one new token of every row."""
        for block, block_cache in zip(self.blocks, cache.blocks, strict=True):
            x_B1D = block.step(x_B1D, trip, block_cache)  # type: ignore[operator]  # torch types submodules as Tensor or Module
        return x_B1D

    def pool(self, x_BTD: Tensor, trip: Trip) -> Tensor:
        """Mean [B, D] over the real tokens."""
        if trip.real_BT is None or trip.lengths_B is None:
            return x_BTD.mean(1)
        return (x_BTD * trip.real_BT[..., None]).sum(1) / trip.lengths_B[:, None]

    def read(self, x: Tensor) -> Tensor:
        """Final norm and head: [..., D] to [..., V or C]."""
        x = self.norm(x)
        logits: Tensor = x @ self.embedding.weight.mT if self.head is None else self.head(x)
        return logits

    def new_blocks(self, batch_size: int, max_len: int, like: Tensor) -> list[BlockCache]:
        """Empty caches of all blocks."""
        return [block.new_cache(batch_size, max_len, like) for block in self.blocks]  # type: ignore[operator]  # as above

    def why_no_decode(self) -> str | None:
        """Why this model cannot generate, or None if it can."""
        if self.config.bidirectional:
            return "a bidirectional model classifies: it cannot generate. Build it with bidirectional=false."
        if self.config.mixer == "convolution":
            return "mixer 'convolution' has no decode: build the model with mixer 'attention' or 'window'"
        return None

    @torch.no_grad()
    def prefill(
        self, tokens_BT: Tensor, lengths_B: Tensor | None = None, *, max_len: int | None = None
    ) -> tuple[Tensor, Cache]:
        """Read prompts; logits [B, V] after the last real token of each, and the cache to decode with.

        Args:
            tokens_BT: int64 prompts, padded on the right.
            lengths_B: their real lengths.
            max_len: positions to make room for; default `max_seq_len`.

        Raises:
            ValueError: for bad tokens, and for a model that cannot generate.
        """
        config, why = self.config, self.why_no_decode()
        if why:
            raise ValueError(why)
        self.trip(tokens_BT, lengths_B, causal=True)  # checks the tokens
        b, t = tokens_BT.shape
        max_len = config.max_seq_len if max_len is None else max_len
        self.rotary.check(max(t, max_len))
        if t > max_len:
            raise ValueError(f"prompts of {t} tokens do not fit max_len {max_len}")
        top_k = config.prefill == "top_k"
        trip = self.trip(tokens_BT, lengths_B, causal=not top_k)
        full_B = torch.full((b,), t, device=tokens_BT.device)
        trip = trip.with_prompt(full_B if lengths_B is None else lengths_B)
        x_BTD = self.embed(tokens_BT)
        position_B = full_B if lengths_B is None else lengths_B.clone()
        positions = [t] * b if lengths_B is None else lengths_B.tolist()
        cache = Cache(self, self.new_blocks(b, max_len, x_BTD), position_B, positions, max_len)
        x_BTD = self.through(x_BTD, trip, cache)
        return self.read(x_BTD[torch.arange(b, device=x_BTD.device), position_B - 1]), cache

    @torch.no_grad()
    def decode(self, tokens_B: Tensor, cache: Cache) -> Tensor:
        """Logits [B, V] after one more token of every row.

        Raises:
            ValueError: if the cache is another model's or full, or the tokens are not int64 [B].
        """
        if cache.owner is not self:
            raise ValueError("this cache belongs to another model: decode with the model that prefilled it")
        if tokens_B.dtype != torch.int64 or tokens_B.shape != cache.position_B.shape:
            raise ValueError(
                f"decode takes int64 tokens [{len(cache.positions)}], one for each row; got {tokens_B.dtype} "
                f"{list(tokens_B.shape)}"
            )
        if max(cache.positions) >= cache.max_len:
            raise ValueError(f"the cache is full at {cache.max_len} positions: prefill with a larger max_len")
        logits_BV = self.decode_step(tokens_B, cache)
        cache.advance()
        return logits_BV

    def decode_step(self, tokens_B: Tensor, cache: Cache) -> Tensor:
        """`decode` without its checks and the host's count: what a CUDA graph captures under a fixed-shape policy."""
        position_B1 = cache.position_B[:, None]
        on_host = self.config.decode_policy == "host"
        trip = Trip(self.rotary.at(position_B1), position_B1, causal=True, on_host=on_host)
        x_B1D = self.step_through(self.embed(tokens_B[:, None]), trip, cache)
        cache.position_B += 1
        return self.read(x_B1D[:, 0])

    def set_progress(self, done: float) -> None:
        """Tell the blocks what share of training is done (0 to 1): a capacity schedule counts steps, not forward calls."""
        for block in self.blocks:
            block.set_progress(done)  # type: ignore[operator]  # as above

    @torch.no_grad()
    def calibrate(self, tokens_BT: Tensor, lengths_B: Tensor | None = None) -> None:
        """Take thresholds from typical text, block by block, each seeing what causal routing gives it."""
        training = self.training
        self.eval()
        trip = self.trip(tokens_BT, lengths_B, causal=True)
        self.through(self.embed(tokens_BT), trip.calibrating())
        self.train(training)


def _check_lengths(lengths_B: Tensor, b: int, t: int) -> None:
    if lengths_B.dtype != torch.int64 or list(lengths_B.shape) != [b]:
        raise ValueError(
            f"lengths must be int64 [{b}], one for each row; got {lengths_B.dtype} {list(lengths_B.shape)}"
        )
    # Values are looked at only where that costs no synchronisation.
    if lengths_B.device.type == "cpu" and not torch.compiler.is_compiling():
        low, high = int(lengths_B.min()), int(lengths_B.max())
        if low < 1 or high > t:
            raise ValueError(f"lengths must lie between 1 and {t}, the tokens given; got {low} to {high}")
