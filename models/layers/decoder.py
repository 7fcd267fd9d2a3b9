"""The dense block, and the decoder around the blocks: embedding, blocks, final norm, head; forward, prefill and decode.

Shapes: B batch, T tokens, D width, V vocabulary, C classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.language_model import DecodeCache, Observation
from modbench.models.layers.attention import Attention, RotaryTable
from modbench.models.layers.balance import Controller
from modbench.models.layers.block_cache import BlockCache, Rows
from modbench.models.layers.cache import Cache
from modbench.models.layers.context import ForwardContext, Observer, check_lengths
from modbench.models.layers.convolution import DynamicConvolution
from modbench.models.layers.init import draw_weights
from modbench.models.layers.mlp import MLP
from modbench.models.layers.norm import norm_of
from modbench.models.layers.span import span


class Block(nn.Module):
    """Pre-norm block: x + attention(norm(x)), then x + mlp(norm(x)). A convolution can take the place of attention."""

    def __init__(self, config: ModelConfig, mlp: nn.Module | None = None) -> None:
        super().__init__()
        self.config = config
        self.norm_attention = norm_of(config)
        convolves = config.mixer == "convolution"
        self.attention: Attention | DynamicConvolution = DynamicConvolution(config) if convolves else Attention(config)
        self.norm_mlp = norm_of(config)
        self.mlp = MLP(config) if mlp is None else mlp

    def attention_branch(
        self, x_BTD: Tensor, ctx: ForwardContext, cache: BlockCache | None = None, rows: Rows | None = None
    ) -> Tensor:
        """attention(norm(x)) over a sequence; with `rows`, of one new token per row, which attends to the cache."""
        if rows is None:
            y_BTD: Tensor = self.attention(self.norm_attention(x_BTD), ctx, cache)
            return y_BTD
        assert isinstance(self.attention, Attention)
        assert cache is not None
        return self.attention.step(self.norm_attention(x_BTD), ctx, cache, rows)

    def mlp_branch(self, x_BTD: Tensor, ctx: ForwardContext) -> Tensor:
        """mlp(norm(x))."""
        y_BTD: Tensor = self.mlp(self.norm_mlp(x_BTD), ctx)
        return y_BTD

    def residual_branch(
        self, x_BTD: Tensor, ctx: ForwardContext, cache: BlockCache | None = None, rows: Rows | None = None
    ) -> Tensor:
        """f(x), what the block adds to the residual stream, and what a router weighs."""
        attended_BTD = self.attention_branch(x_BTD, ctx, cache, rows)
        return attended_BTD + self.mlp_branch(x_BTD + attended_BTD, ctx)

    def forward(self, x_BTD: Tensor, ctx: ForwardContext, cache: BlockCache | None = None) -> Tensor:
        """X + f(x); with a cache, the keys and values of a prompt are kept."""
        return x_BTD + self.residual_branch(x_BTD, ctx, cache)

    def step(self, x_B1D: Tensor, ctx: ForwardContext, cache: BlockCache) -> Tensor:
        """One new token of every row."""
        return x_B1D + self.residual_branch(x_B1D, ctx, cache, Rows())

    def new_cache(self, batch_size: int, max_len: int, like: Tensor) -> BlockCache:
        """An empty cache that fits this block."""
        return BlockCache(self.config, batch_size, max_len, like)

    def set_progress(self, done: float) -> None:
        """Set what share of training is done, for what changes with it."""


class Decoder(nn.Module):
    """Tokens [B, T] to logits [B, T, V] through the given blocks; to [B, C] where the model is a classifier."""

    realised: list[int] | None = None  # see `LanguageModel`
    blocks: Sequence[Block]

    def __init__(self, config: ModelConfig, blocks: Iterable[Block]) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        learned = config.position == "learned"
        self.positions = nn.Embedding(config.max_seq_len, config.d_model) if learned else None
        self.rotary = RotaryTable(config)
        self.blocks = cast("Sequence[Block]", nn.ModuleList(blocks))
        self.norm = norm_of(config)
        out = config.n_classes if config.bidirectional else config.vocab_size
        self.head = None if config.tied and not config.bidirectional else nn.Linear(config.d_model, out, bias=False)
        draw_weights(self, config)

    @property
    def has_auxiliary(self) -> bool:
        """Whether training adds a loss to the cross-entropy: `forward(tokens, auxiliary=True)` returns it."""
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
        """Logits of the next token at every position, or of the classes; the arguments are those of `LanguageModel`.

        Raises:
            ValueError: if the tokens are not int64 [B, T], more than the rotary table serves, or the lengths do not fit;
                or if `causal` is asked of a model that cannot route causally.
        """
        ctx = self.context(tokens_BT, lengths_B, causal=causal, prompt_B=prompt_B, auxiliary=auxiliary)
        x_BTD = self.run_blocks(self.embed(tokens_BT, ctx.position_BT), ctx)
        logits = self.to_logits(self.pool(x_BTD, ctx) if self.config.bidirectional else x_BTD)
        if not auxiliary:
            return logits
        losses = ctx.auxiliary or []
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
    ) -> Observation:
        """Like `forward`, and what every router decided. `flip_LBT` reverses single decisions of token routers."""
        observer = Observer(flip_LBT)
        ctx = replace(self.context(tokens_BT, lengths_B, causal=causal, prompt_B=prompt_B), observer=observer)
        x_BTD = self.run_blocks(self.embed(tokens_BT, ctx.position_BT), ctx)
        logits = self.to_logits(self.pool(x_BTD, ctx) if self.config.bidirectional else x_BTD)
        return Observation(logits, observer.decisions, self.realised)

    def context(
        self,
        tokens_BT: Tensor,
        lengths_B: Tensor | None,
        *,
        causal: bool,
        prompt_B: Tensor | None = None,
        auxiliary: bool = False,
    ) -> ForwardContext:
        """Check the tokens, and make the context that the blocks are given."""
        if tokens_BT.ndim != 2 or tokens_BT.dtype != torch.int64:
            raise ValueError(f"tokens must be int64 [B, T]; got {tokens_BT.dtype} {list(tokens_BT.shape)}")
        b, t = tokens_BT.shape
        if b < 1 or t < 1:
            raise ValueError(f"tokens [{b}, {t}] are empty: give at least one row of at least one token")
        if lengths_B is not None:
            check_lengths(lengths_B, b, t)
        if prompt_B is not None:
            check_lengths(prompt_B, b, t)
        return ForwardContext(
            rotary=self.rotary(t),
            position_BT=torch.arange(t, device=tokens_BT.device)[None],
            lengths_B=lengths_B,
            causal=causal,
            prompt_B=prompt_B,
            causal_bias=self.rotary.causal_bias,
            tokens_BT=tokens_BT if auxiliary else None,
            auxiliary=[] if auxiliary else None,
        )

    def embed(self, tokens: Tensor, position: Tensor | None = None) -> Tensor:
        """Tokens [...] to the residual stream [..., D], of standard deviation 1 at initialisation.

        Args:
            tokens: ids.
            position: their positions, for learned ones; None: rotary alone.
        """
        x: Tensor = self.embedding(tokens)
        if self.config.tied:
            x = x * self.embedding.embedding_dim**0.5  # tied rows are scaled for the head
        if self.positions is None:
            return x
        assert position is not None
        added: Tensor = self.positions(position)
        return x + added

    def run_blocks(self, x_BTD: Tensor, ctx: ForwardContext, cache: Cache | None = None) -> Tensor:
        """All blocks over a sequence; with a cache, keys and values are kept there for later tokens."""
        for i, block in enumerate(self.blocks):
            with span(type(block).__name__):
                x_BTD = block(x_BTD, ctx, cache.blocks[i] if cache else None)
        return x_BTD

    def step_blocks(self, x_B1D: Tensor, ctx: ForwardContext, cache: Cache) -> Tensor:
        """All blocks over one new token of every row."""
        for block, block_cache in zip(self.blocks, cache.blocks, strict=True):
            x_B1D = block.step(x_B1D, ctx, block_cache)
        return x_B1D

    def pool(self, x_BTD: Tensor, ctx: ForwardContext) -> Tensor:
        """Mean [B, D] over the real tokens."""
        if ctx.real_BT is None or ctx.lengths_B is None:
            return x_BTD.mean(1)
        return (x_BTD * ctx.real_BT[..., None]).sum(1) / ctx.lengths_B[:, None]

    def to_logits(self, x: Tensor) -> Tensor:
        """Final norm and head: [..., D] to [..., V or C]."""
        x = self.norm(x)
        logits: Tensor = x @ self.embedding.weight.mT if self.head is None else self.head(x)
        return logits

    def new_caches(self, batch_size: int, max_len: int, like: Tensor) -> list[BlockCache]:
        """Empty caches of all blocks."""
        return [block.new_cache(batch_size, max_len, like) for block in self.blocks]

    def why_no_decode(self) -> str | None:
        """Why this model cannot generate; None if it can."""
        if self.config.bidirectional:
            return "a bidirectional model classifies: it cannot generate. Build it with bidirectional=false."
        if self.config.mixer == "convolution":
            return "mixer 'convolution' has no decode: build the model with mixer 'attention' or 'window'"
        return None

    @torch.no_grad()
    def prefill(
        self, tokens_BT: Tensor, lengths_B: Tensor | None = None, *, max_len: int | None = None
    ) -> tuple[Tensor, Cache]:
        """Read prompts; logits [B, V] after the last real token of each row, and the cache to decode with.

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
        ctx = self.context(tokens_BT, lengths_B, causal=config.prefill == "causal")
        b, t = tokens_BT.shape
        max_len = config.max_seq_len if max_len is None else max_len
        self.rotary.check(max(t, max_len))
        if t > max_len:
            raise ValueError(f"prompts of {t} tokens do not fit max_len {max_len}")
        full_B = torch.full((b,), t, device=tokens_BT.device)
        positions = [t] * b if lengths_B is None else lengths_B.tolist()
        ctx = replace(ctx, prompt_B=full_B if lengths_B is None else lengths_B, lengths=positions)
        x_BTD = self.embed(tokens_BT, ctx.position_BT)
        position_B = full_B if lengths_B is None else lengths_B.clone()
        cache = Cache(self, self.new_caches(b, max_len, x_BTD), position_B, positions, max_len)
        x_BTD = self.run_blocks(x_BTD, ctx, cache)
        return self.to_logits(x_BTD[torch.arange(b, device=x_BTD.device), position_B - 1]), cache

    @torch.no_grad()
    def decode(self, tokens_B: Tensor, cache: DecodeCache) -> Tensor:
        """Logits [B, V] after one more token in each row.

        Raises:
            ValueError: if the cache belongs to another model or is full, or the tokens are not int64 [B].
        """
        if not isinstance(cache, Cache) or cache.owner is not self:
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

    def decode_step(self, tokens_B: Tensor, cache: DecodeCache) -> Tensor:
        """`decode` without checks and without `cache.advance()`: what a CUDA graph captures, if shapes are fixed."""
        assert isinstance(cache, Cache)
        position_B1 = cache.position_B[:, None]
        on_host = self.config.decode_policy == "host"
        ctx = ForwardContext(self.rotary.at(position_B1), position_B1, causal=True, on_host=on_host)
        x_B1D = self.step_blocks(self.embed(tokens_B[:, None], position_B1), ctx, cache)
        cache.position_B += 1
        cache.steps += 1
        return self.to_logits(x_B1D[:, 0])

    def set_progress(self, done: float) -> None:
        """Set what share of training is done (0 to 1): a capacity schedule counts steps, not forward calls."""
        for block in self.blocks:
            block.set_progress(done)

    def after_step(self) -> None:
        """Move the controllers of routers by what this step's tokens chose; once after each step of the optimizer."""
        for part in self.modules():
            if isinstance(part, Controller):
                part.move()

    @torch.no_grad()
    def calibrate(self, tokens_BT: Tensor, lengths_B: Tensor | None = None) -> None:
        """Set thresholds from typical text, block by block, each with the inputs that causal routing gives it."""
        training = self.training
        self.eval()
        ctx = replace(self.context(tokens_BT, lengths_B, causal=True), calibrate=True)
        self.run_blocks(self.embed(tokens_BT, ctx.position_BT), ctx)
        self.train(training)
