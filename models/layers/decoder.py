"""The dense decoder: attention, MLP, the block, and the model around the blocks. Forward, prefill and decode, with their cost.

Shapes: B batch, T tokens, D width, H query heads, K key/value heads, d a head's width, A = H·d, S cached tokens, F hidden
width, V vocabulary, C classes, R rows that a decode step processes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.language_model import Decision, DecodeCache, Observation
from modbench.models.layers.context import ForwardContext, check_lengths
from modbench.models.layers.cost import CostSheet, DecodeSheet, attention_memory, mlp_memory
from modbench.models.layers.decode_cache import BlockCache, Cache, Rows
from modbench.models.layers.kernels import PIECE, WHOLE_BLOCK, Rotary, RotaryTable, fused_attention, in_pieces, span
from modbench.models.layers.mixers import DynamicConvolution, convolution_cost, in_windows, window_memory, window_pairs
from modbench.models.layers.router import Router


def norm_of(config: ModelConfig) -> nn.Module:
    """The norm of a residual stream: RMSNorm (Zhang & Sennrich 2019), or LayerNorm (Ba et al. 2016) with scale and shift."""
    if config.norm == "layer":
        return nn.LayerNorm(config.d_model, eps=1e-5)
    return nn.RMSNorm(config.d_model, eps=1e-6)


class Attention(nn.Module):
    """Softmax attention over the tokens that it is given, causal in their order.

    With a window, a token attends to the last W tokens that this block was given, itself included. In a routed block
    these are the last W that the block processed, however far back they are: shapes stay static, and W cache slots suffice.
    """

    pieces = True  # False computes the whole square everywhere, as the convention for counting FLOPs has it

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads = config.n_heads, config.n_kv_heads
        self.group, self.head = config.n_heads // config.n_kv_heads, config.head_dim
        self.window = config.window if config.mixer == "window" else None
        self.bidirectional = config.bidirectional
        self.qkv = nn.Linear(config.d_model, (config.n_heads + 2 * config.n_kv_heads) * self.head, bias=False)
        self.out = nn.Linear(config.attention_width, config.d_model, bias=False)

    def project(self, x_BTD: Tensor, rotary: Rotary | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [B, H, T, d], keys and values [B, K, T, d]; q and k are rotated together: one kernel instead of two."""
        h, k = self.n_heads, self.n_kv_heads
        qkv_BTHd = self.qkv(x_BTD).unflatten(-1, (h + 2 * k, self.head))
        if rotary is None:
            q_BTHd, k_BTKd, v_BTKd = qkv_BTHd.split((h, k, k), dim=2)
            return q_BTHd.transpose(1, 2), k_BTKd.transpose(1, 2), v_BTKd.transpose(1, 2)
        qk_BTHd, v_BTKd = qkv_BTHd.split((h + k, k), dim=2)
        q_BHTd, k_BKTd = rotary.rotate(qk_BTHd).transpose(1, 2).split((h, k), dim=1)
        return q_BHTd, k_BKTd, v_BTKd.transpose(1, 2)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, is_causal: bool = False) -> Tensor:
        """[B, H, T, d] over keys [B, K, S, d] to [B, T, D], through the output projection."""
        y_BHTd = fused_attention(q, k, v, mask, group=self.group, is_causal=is_causal)
        y_BTD: Tensor = self.out(y_BHTd.transpose(1, 2).flatten(2))
        return y_BTD

    def forward(self, x_BTD: Tensor, ctx: ForwardContext, cache: BlockCache | None = None) -> Tensor:
        """[B, T, D] to [B, T, D]; with a cache, keys and values are kept there.

        Padding is on the right, so the causal mask already hides it from every real token.
        """
        q, k, v = self.project(x_BTD, ctx.rotary)
        if cache is not None:
            cache.fill(k, v, ctx.lengths_B, ctx.lengths)
        if self.bidirectional:
            real_BT = ctx.real_BT
            return self.attend(q, k, v, None if real_BT is None else real_BT[:, None, None])
        on_cpu = q.device.type == "cpu" and PIECE < q.shape[2] <= WHOLE_BLOCK
        if self.window is not None and self.window < x_BTD.shape[1]:
            y_BTA = in_windows(q, k, v, self.window, group=self.group)
        elif self.pieces and on_cpu and ctx.causal_bias is not None:
            y_BTA = in_pieces(q, k, v, ctx.causal_bias, group=self.group)
        else:
            return self.attend(q, k, v, is_causal=True)
        y_BTD: Tensor = self.out(y_BTA)
        return y_BTD

    def step(self, x_R1D: Tensor, ctx: ForwardContext, cache: BlockCache, rows: Rows) -> Tensor:
        """One new token of some rows, which attends to the cached tokens of its row and to itself."""
        q, k, v = self.project(x_R1D, ctx.rotary)
        return self.attend(q, *cache.append(k, v, rows))


class MLP(nn.Module):
    """SwiGLU (Shazeer 2020), or GELU with one hidden layer: `down(silu(gate(x)) * up(x))`, or `down(gelu(up(x)))`; no biases.

    Args:
        config: shape.
        width: hidden width F; None: `d_ff`.
    """

    def __init__(self, config: ModelConfig, width: int | None = None) -> None:
        super().__init__()
        d, f = config.d_model, config.d_ff if width is None else width
        self.gate = nn.Linear(d, f, bias=False) if config.activation == "swiglu" else None
        self.up = nn.Linear(d, f, bias=False)
        self.down = nn.Linear(f, d, bias=False)

    def forward(self, x_BTD: Tensor, ctx: ForwardContext) -> Tensor:  # noqa: ARG002  # `ExpertMLP`, which can replace this, needs it
        """[B, T, D] to [B, T, D], each token by itself."""
        # The gate is freed before `up` is computed, which then reuses its memory: one buffer less to fault in.
        hidden_BTF = F.gelu(self.up(x_BTD)) if self.gate is None else F.silu(self.gate(x_BTD)) * self.up(x_BTD)
        y_BTD: Tensor = self.down(hidden_BTF)
        return y_BTD


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
        logits = self._whole(tokens_BT, ctx)
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
        decisions: list[Decision] = []
        ctx = self.context(tokens_BT, lengths_B, causal=causal, prompt_B=prompt_B)
        logits = self._whole(tokens_BT, replace(ctx, decisions=decisions, flip_LBT=flip_LBT))
        return Observation(logits, decisions, self.realised)

    def _whole(self, tokens_BT: Tensor, ctx: ForwardContext) -> Tensor:
        x_BTD = self.run_blocks(self.embed(tokens_BT, ctx.position_BT), ctx)
        return self.to_logits(self.pool(x_BTD, ctx) if self.config.bidirectional else x_BTD)

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
        for given_B in (lengths_B, prompt_B):
            if given_B is not None:
                check_lengths(given_B, b, t)
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
        return x if self.positions is None else x + self.positions(position)

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
        if why := self.why_no_decode():
            raise ValueError(why)
        ctx = self.context(tokens_BT, lengths_B, causal=self.config.prefill == "causal")
        b, t = tokens_BT.shape
        max_len = self.config.max_seq_len if max_len is None else max_len
        self.rotary.check(max(t, max_len))
        if t > max_len:
            raise ValueError(f"prompts of {t} tokens do not fit max_len {max_len}")
        position_B = torch.full((b,), t, device=tokens_BT.device) if lengths_B is None else lengths_B.clone()
        positions = [t] * b if lengths_B is None else lengths_B.tolist()
        ctx = replace(ctx, prompt_B=position_B, lengths=positions)
        x_BTD = self.embed(tokens_BT, ctx.position_BT)
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
        """Move what moves without a gradient; once after each step of the optimizer."""

    @torch.no_grad()
    def calibrate(self, tokens_BT: Tensor, lengths_B: Tensor | None = None) -> None:
        """Set thresholds from typical text, block by block, each with the inputs that causal routing gives it."""
        training = self.training
        self.eval()
        ctx = replace(self.context(tokens_BT, lengths_B, causal=True), calibrate=True)
        self.run_blocks(self.embed(tokens_BT, ctx.position_BT), ctx)
        self.train(training)


@torch.no_grad()
def draw_weights(module: nn.Module, config: ModelConfig) -> None:
    """Draw every parameter from its own name and torch's seed.

    Models of one seed therefore start from equal weights wherever shapes agree. A GPU draws other numbers than a CPU from
    the same seed. The residual stream starts with standard deviation 1; so does the raw router output w·x, and routed blocks
    contribute from the first step.
    """
    for name, weight in module.named_parameters():
        if weight.ndim < 2:
            nn.init.constant_(weight, 0.0 if name.endswith("bias") else 1.0)  # norms and scales start at 1
            continue
        if weight.is_meta:
            continue
        # Linear weights are [out, in]; stacked experts end in [in, out].
        fan_in = weight.shape[1] if weight.ndim == 2 else weight.shape[-2]
        std = fan_in**-0.5
        if name == "embedding.weight":
            std = config.d_model**-0.5 if config.tied else 1.0
        elif name.endswith(("attention.out.weight", "mlp.down.weight", "shared.down.weight", "down_EFD")):
            std /= (2 * config.n_layers) ** 0.5  # GPT-2's residual scaling
        digest = hashlib.sha256(f"{torch.initial_seed()} {name}".encode()).digest()
        generator = torch.Generator(weight.device).manual_seed(int.from_bytes(digest[:7], "big"))
        weight.normal_(0.0, std, generator=generator)
    for part in module.modules():
        if isinstance(part, Router):
            part.adjust_init()


def mixer_cost(sheet: CostSheet, n: int) -> None:
    """Norm and mixer over n tokens of each sequence.

    Attention is n x n: a routed block's tokens attend to one another only, so with capacity c the scores cost a factor c squared
    (Raposo et al. 2024, section 3.2).
    """
    config, d = sheet.config, sheet.config.d_model
    if config.mixer == "convolution":
        convolution_cost(sheet, n)
        return
    a, kv, at = config.attention_width, config.kv_width, f"{sheet.here}attention"
    windowed = config.mixer == "window" and config.window < n
    computed: float = n * n
    allowed: float = n * n if config.bidirectional else n * (n + 1) / 2
    if windowed:
        computed, allowed = window_pairs(n, config.window)
    sheet.matmul("attention projections", n, d, 2 * a + 2 * kv, at=at)
    for part in ("scores", "values"):
        sheet.add(part, 2 * sheet.batch_size * computed * a, at)
    sheet.attention_causal += 4 * sheet.batch_size * allowed * a
    sheet.params += d * (2 * a + 2 * kv) + config.norm_params
    sheet.keep((window_memory if windowed else attention_memory)(config, n, n * sheet.batch_size))


def mlp_cost(sheet: CostSheet, n: int, *, residual: bool = True) -> None:
    """Norm and MLP over n tokens; without `residual` its output is not added to a stream of its own (routed blocks)."""
    config, weights = sheet.config, sheet.config.mlp_elements(sheet.config.d_ff)
    sheet.add("mlp", 2 * sheet.batch_size * n * weights, f"{sheet.here}mlp")
    sheet.params += weights + config.norm_params
    sheet.keep(mlp_memory(config, n * sheet.batch_size, residual=residual))


def mixer_reads(sheet: DecodeSheet, share: float) -> None:
    """Projections, and what is cached, of a block that processes this share of the tokens: a convolution keeps no keys."""
    config, d = sheet.config, sheet.config.d_model
    if config.mixer == "convolution":
        weights, width = d * (3 * d + config.n_heads * config.kernel_size), d
    else:
        width = 2 * config.kv_width
        weights = d * (2 * config.attention_width + width)
    sheet.weights(weights, share)
    tokens = share * sheet.context
    held = width * (tokens if config.reach is None else min(tokens, config.reach)) * sheet.batch_size
    sheet.held += held
    rows = {"host": share, "budget": max(share, min(config.row_share, 1)), "masked": 1.0}
    sheet.elements += held * (rows[config.decode_policy] if share < 1 else 1.0)


def mlp_reads(sheet: DecodeSheet, share: float) -> None:
    """The MLP's weights."""
    sheet.weights(sheet.config.mlp_elements(sheet.config.d_ff), share)
