"""Mixture-of-Depths: a routed block processes its top-k tokens with attention and MLP; the others bypass it unchanged.

Raposo et al. 2024 (arXiv 2404.02258), section 3. Every second block is routed, starting with the second; the router's raw
score multiplies the block's output; selected tokens attend to one another only and keep their own rotary positions. The
top-k depends on the whole sequence, later tokens included, so a model routed this way is not autoregressive. With
`causal=True`, and in decoding, the router decides token by token (by default with a predictor of the top-k); then it is.

What the paper leaves open is an option, with this default: `multiplier` (raw), `router_init` (scores start with standard
deviation 1), `causal` (predictor, of `predictor_width` 64) and `aux_weight` (0.01), `every` and `first_routed` (2 and the
second block), `round_k` (1: floor), `capacity_warmup` (0: none), `prefill` (causal, as in decoding).

Read this file with `layers/decoder.py`, which has the dense `Block`, the model around the blocks and what both cost, and with
`layers/context.py`, which has what blocks are given beside their input: rotary angles, lengths and padding of the tokens, whether
to route causally, and in decoding the cache and its policy. What a router is given and returns is in docs/extend.md; the learned
one, which is the paper's, is `routers/learned.py`.

Shapes: B batch, T tokens, D width, k selected tokens, N = B·T tokens of the batch, R rows that a decode step processes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.contracts import Amount, Cost, DecodeCost, Model
from modbench.harness.core.language_model import Decision
from modbench.harness.registry import user_routers
from modbench.models.layers.context import ForwardContext, Selection, from_mask
from modbench.models.layers.cost import CostSheet, DecodeSheet, outside_memory, scatter_memory, select_memory
from modbench.models.layers.decode_cache import BlockCache, Rows
from modbench.models.layers.decoder import Block, Decoder, mixer_cost, mixer_reads, mlp_cost, mlp_reads
from modbench.models.layers.kernels import span
from modbench.models.layers.router import BLIND, Router


def top_k(r_BT: Tensor, k: int, k_B: Tensor | None = None, real_BT: Tensor | None = None) -> Selection:
    """The k highest scores of each row; with padding, of row b only the `k_B[b]` highest of its real tokens."""
    if k_B is None or real_BT is None:
        return Selection(r_BT.topk(k, dim=-1, sorted=False).indices.sort(dim=-1).values, None)
    t = r_BT.shape[1]
    indices_Bk = r_BT.masked_fill(~real_BT, -torch.inf).topk(k, dim=-1).indices
    valid_Bk = torch.arange(k, device=r_BT.device) < k_B[:, None]
    # Invalid indices sort last, then get a place that exists.
    return Selection(indices_Bk.masked_fill(~valid_Bk, t).sort(dim=-1).values.clamp(max=t - 1), k_B)


class RoutedBlock(Block):
    """x + r·f(x) for the selected tokens, x for the others: gathered, computed, and added back to one residual stream.

    `granularity` says what f is: the whole block, its attention or its MLP; the other half then runs for all tokens.
    """

    def __init__(self, config: ModelConfig, layer: int, mlp: nn.Module | None = None) -> None:
        super().__init__(config, mlp)
        assert config.capacity is not None  # the suite fills in each model's default
        self.capacity = config.capacity
        self._executed: Tensor | int = 0
        # The submodules that `capacity` and `executed_tokens` are about (harness/call/subject/check_skipping.py).
        self.routed_parts = ("attention", "mlp") if config.granularity == "block" else (config.granularity,)
        kind = user_routers.load(config.router)
        if not issubclass(kind, Router):
            raise TypeError(
                f"router {config.router!r}: derive {kind.__name__} from modbench.models.layers.router.Router"
            )
        self.router: Router = kind(config, layer)

    @property
    def executed_tokens(self) -> int:
        """Tokens of the whole batch that the last call over sequences processed."""
        return int(self._executed)

    def forward(self, x_BTD: Tensor, ctx: ForwardContext, cache: BlockCache | None = None) -> Tensor:
        """[B, T, D] to [B, T, D]; in top-k mode exactly k = max(1, floor(c·T)) tokens of each sequence change."""
        if self.config.granularity == "mlp":
            x_BTD = x_BTD + self.attention_branch(x_BTD, ctx, cache)
        x_BTD = self._route(x_BTD, ctx, cache)
        if self.config.granularity == "attention":
            x_BTD = x_BTD + self.mlp_branch(x_BTD, ctx)
        return x_BTD

    def f(self, x_BTD: Tensor, ctx: ForwardContext, cache: BlockCache | None, rows: Rows | None = None) -> Tensor:
        """The routed part of the block, without its residual connection."""
        if self.config.granularity == "mlp":
            return self.mlp_branch(x_BTD, ctx)
        if self.config.granularity == "attention":
            return self.attention_branch(x_BTD, ctx, cache, rows)
        return self.residual_branch(x_BTD, ctx, cache, rows)

    def _route(self, x_BTD: Tensor, ctx: ForwardContext, cache: BlockCache | None) -> Tensor:
        """Score all tokens, select k, process these, and add the result to the stream."""
        b, t, d = x_BTD.shape
        with span("router"):
            r_BT = self.router.score(x_BTD, ctx)
        if r_BT.shape != (b, t):
            raise ValueError(f"the router's scores have the shape {list(r_BT.shape)}: [B, T] = {[b, t]} is needed")
        if ctx.calibrate:
            self.router.calibrate(r_BT, ctx.real_BT)
        with span("top-k and sort"):
            selection = self._select(x_BTD, r_BT, ctx)
        if ctx.decisions is not None:
            selection = self._observe(selection, x_BTD, r_BT, ctx)
        indices_Bk, k = selection.indices_Bk, selection.indices_Bk.shape[1]
        executed = b * k if selection.count_B is None else selection.count_B.sum()
        if not torch.compiler.is_compiling():  # a compiled graph records nothing
            self._executed = executed
        if cache is not None:
            cache.count(b * t if ctx.lengths is None else sum(ctx.lengths), executed)
        if k == 0:
            return x_BTD
        with span("gather"):
            flat_N = (indices_Bk + torch.arange(b, device=x_BTD.device)[:, None] * t).flatten()
            x_ND = x_BTD.reshape(b * t, d)
            # Unlike an index in brackets, its gradient needs no sorting on CUDA.
            x_BkD = x_ND.index_select(0, flat_N).view(b, k, d)
            selected = ctx.of_tokens(selection)
        with span("chosen tokens"):
            f_BkD = self.f(x_BkD, selected, cache)
        if ctx.auxiliary is not None and self.router.has_loss and not ctx.causal:
            chosen_BT = torch.zeros_like(r_BT, dtype=torch.bool).scatter_(1, indices_Bk, True)
            with span("auxiliary loss"):
                ctx.auxiliary.append(self.router.loss(x_BTD, r_BT, chosen_BT, ctx.real_BT))
        with span("scatter"):
            gated_BkD = _gate(f_BkD, self.router.multiplier(r_BT.gather(1, indices_Bk)), selection.valid_Bk)
            # Indices are unique, so index_add adds once each; unlike scatter_add it has a deterministic CUDA mode.
            return x_ND.index_add(0, flat_N, gated_BkD.to(x_ND.dtype).view(b * k, d)).view(b, t, d)

    def _select(self, x_BTD: Tensor, r_BT: Tensor, ctx: ForwardContext) -> Selection:
        """The top-k of each row, k following its real length; with causal routing, however many the router selects."""
        if not ctx.causal:
            k = self.config.kept(x_BTD.shape[1], self.capacity)
            if ctx.lengths_B is None:
                return top_k(r_BT, k)
            m = self.config.round_k
            k_B = (self.capacity * ctx.lengths_B.double() + 1e-9).long().clamp(min=1)
            return top_k(r_BT, k, torch.minimum((k_B + m - 1) // m * m, ctx.lengths_B), ctx.real_BT)
        mask_BT = self.router.selects(x_BTD, r_BT, ctx)
        if ctx.real_BT is not None:
            mask_BT = mask_BT & ctx.real_BT
        return from_mask(mask_BT, on_host=ctx.on_host)

    def _observe(self, selection: Selection, x_BTD: Tensor, r_BT: Tensor, ctx: ForwardContext) -> Selection:
        """Record the decision, after reversing what is to be reversed."""
        assert ctx.decisions is not None
        layer, mask_BT = self.router.layer, selection.mask(r_BT.shape[1])
        if ctx.flip_LBT is not None and bool(ctx.flip_LBT[layer].any()):
            mask_BT = mask_BT ^ ctx.flip_LBT[layer]
            selection = from_mask(mask_BT)
        has_prediction = not ctx.causal and self.router.predicts_top_k
        predicted_BT = self.router.selects(x_BTD, r_BT, ctx) if has_prediction else None
        weight_BT = self.router.multiplier(r_BT)
        ctx.decisions.append(Decision(layer, r_BT, mask_BT, weight_BT, predicted_BT))
        return selection

    def step(self, x_B1D: Tensor, ctx: ForwardContext, cache: BlockCache) -> Tensor:
        """One new token of every row; a token that bypasses the block leaves nothing in the cache."""
        granularity = self.config.granularity
        if granularity == "mlp":
            x_B1D = x_B1D + self.attention_branch(x_B1D, ctx, cache, Rows())
        r_B1 = self.router.score(x_B1D, ctx)
        selects_B = self.router.selects(x_B1D, r_B1, ctx)[:, 0]
        rows = cache.admit(selects_B, r_B1[:, 0], compact=granularity != "mlp")
        if not rows.empty:
            row_R = rows.index_R
            x_R1D, r_R1 = (x_B1D, r_B1) if row_R is None else (x_B1D[row_R], r_B1[row_R])
            f_R1D = self.f(x_R1D, ctx.of_rows(row_R), cache, rows)
            valid_R1 = None if rows.valid_R is None else rows.valid_R[:, None]
            gated_R1D = _gate(f_R1D, self.router.multiplier(r_R1), valid_R1).to(x_B1D.dtype)
            x_B1D = x_B1D + gated_R1D if row_R is None else x_B1D.index_add(0, row_R, gated_R1D)
        return x_B1D + self.mlp_branch(x_B1D, ctx) if granularity == "attention" else x_B1D

    def new_cache(self, batch_size: int, max_len: int, like: Tensor) -> BlockCache:
        """A cache with room for the expected share of the tokens."""
        share = 1.0 if self.config.granularity == "mlp" else self.config.expected_share
        return BlockCache(self.config, batch_size, max_len, like, share=share, routed=True)

    def set_progress(self, done: float) -> None:
        """Lower the capacity linearly from 1 to its final value over the first `capacity_warmup` of training."""
        least, warmup = self.config.capacity, self.config.capacity_warmup
        assert least is not None
        self.capacity = least if done >= warmup else 1 + (least - 1) * done / warmup


def _gate(f_BkD: Tensor, multiplier_Bk: Tensor | None, valid_Bk: Tensor | None) -> Tensor:
    """F times the float32 multiplier; 0 for tokens that were computed only to fill the shape."""
    if multiplier_Bk is not None:
        f_BkD = multiplier_Bk[..., None] * f_BkD
    return f_BkD if valid_Bk is None else f_BkD.masked_fill(~valid_Bk[..., None], 0)


class MoD(Decoder):
    """Dense blocks; every `every`-th one is a `RoutedBlock`."""

    def __init__(self, config: ModelConfig) -> None:
        layers = range(config.n_layers)
        super().__init__(config, (RoutedBlock(config, i) if config.routed(i) else Block(config) for i in layers))


def cost(config: ModelConfig, seq_len: int, batch_size: int) -> Cost:
    """The router scores all tokens; a routed block processes k of them."""
    sheet = CostSheet(config, seq_len, batch_size)
    for layer in range(config.n_layers):
        block_cost(sheet.at(f"blocks.{layer}"), layer, mlp_cost)
    return sheet.total()


def block_cost(sheet: CostSheet, layer: int, mlp: Callable[..., None]) -> None:
    """One block in the order of its forward pass; `mlp(sheet, n, residual=…)` adds the cost of its MLP or experts."""
    config, t, b = sheet.config, sheet.seq_len, sheet.batch_size
    if not config.routed(layer):
        mixer_cost(sheet, t)
        mlp(sheet, t, residual=True)
        return
    part, k = config.granularity, config.kept(t)
    if part == "mlp":
        mixer_cost(sheet, t)
    _router_cost(sheet)
    sheet.keep(select_memory(config, t * b, k * b))
    sheet.outer = outside_memory(config, t * b, k * b)
    if part in {"block", "attention"}:
        mixer_cost(sheet, k)
    if part in {"block", "mlp"}:
        mlp(sheet, k, residual=False)
    sheet.keep(scatter_memory(config, t * b, k * b))
    sheet.outer = Amount()
    if part == "attention":
        mlp(sheet, t, residual=True)


def _router_cost(sheet: CostSheet) -> None:
    """A learned router over all tokens; while training, its predictor too.

    The predictor's input is detached: for its first layer, backward computes only the gradient of the weight.
    """
    config, d, tokens = sheet.config, sheet.config.d_model, sheet.batch_size * sheet.seq_len
    if config.router != "learned":
        return
    sheet.matmul("router", sheet.seq_len, d, 1, at=f"{sheet.here}router.weight")
    sheet.params += d
    if config.causal == "predictor":
        w = config.predictor_width
        sheet.params += d * w + w + w + 1
        sheet.only_training += 2 * tokens * (2 * d * w + 3 * w)
        sheet.predictor += 2 * tokens * (d * w + w)


def decode_cost(config: ModelConfig, context: int, batch_size: int) -> DecodeCost:
    """Weights of the blocks that process some row, and the keys and values that those rows read."""
    sheet = DecodeSheet(config, context, batch_size)
    for layer in range(config.n_layers):
        router_reads(sheet, layer)
        mixer_reads(sheet, config.expected_share if config.skips(layer, "attention") else 1.0)
        mlp_reads(sheet, config.expected_share if config.skips(layer, "mlp") else 1.0)
    return sheet.total()


def router_reads(sheet: DecodeSheet, layer: int) -> None:
    """A learned router and its predictor, which are always read."""
    config = sheet.config
    if config.routed(layer) and config.router == "learned":
        sheet.elements += config.d_model * (1 + config.predictor_width * (config.causal == "predictor"))


MODEL = Model(
    build=MoD,
    cost=cost,
    options={
        "capacity": 0.125,
        "every": 2,
        "first_routed": 1,
        "router": "learned",
        "granularity": "block",
        "multiplier": "raw",
        "router_init": 1.0,
        "round_k": 1,
        "capacity_warmup": 0.0,
        "causal": "predictor",
        "predictor_width": 64,
        "aux_weight": 0.01,
        "participation": None,
        "row_correlation": 0.0,
        "layer_correlation": 0.0,
        "prefill": "causal",
    },
    sees_future=lambda config: config.router not in BLIND,
    decode_cost=decode_cost,
)
