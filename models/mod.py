"""Mixture-of-Depths: a routed block takes its top-k tokens through attention and MLP; the others pass by unchanged.

Raposo et al. 2024 (arXiv 2404.02258), section 3. Every second block is routed, the second one first; the router's raw
output multiplies the block's; chosen tokens attend to one another only and keep their own rotary positions. The top-k
sees the whole sequence, later tokens included: so routed, the model is not autoregressive. With `causal=True`, and
whenever it decodes, the router decides token by token (a predictor of the top-k by default), and it is.

What the paper leaves open is an option, with its default here: `multiplier` (raw), `router_init` (scores start at
deviation 1), `causal` (predictor, of `predictor_width` 64) and `aux_weight` (0.01), `every` and `first_routed` (2 and the
second block), `round_k` (1: floor), `capacity_warmup` (0: none), `prefill` (causal, as decode is).

Shapes: B batch, T tokens, D width, k chosen tokens, R rows at hand.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from modbench.harness.core import catalogue
from modbench.harness.core.config import ModelConfig
from modbench.harness.core.contracts import Cost, DecodeCost, Model
from modbench.models.layers.cache import BlockCache, Rows
from modbench.models.layers.cost import CostSheet, DecodeSheet
from modbench.models.layers.decisions import Decision, mask_of
from modbench.models.layers.decoder import Block, Decoder
from modbench.models.layers.router import Router
from modbench.models.layers.span import span
from modbench.models.layers.trip import Chosen, Trip, those, top_k


class RoutedBlock(Block):
    """x + r·f(x) for the tokens that pass, x for the rest: one residual, gathered, computed, added back.

    `granularity` says what f is: the block, its attention alone, or its MLP alone; the other half then runs for all.
    """

    def __init__(self, config: ModelConfig, layer: int, mlp: nn.Module | None = None) -> None:
        super().__init__(config, mlp)
        assert config.capacity is not None  # the suite fills in each model's default
        self.capacity = config.capacity
        self._passed: Tensor | int = 0
        # What the claim of `capacity` and `executed_tokens` is about (harness/subject/claims.py).
        self.routed_parts = {"block": ("attention", "mlp"), "attention": ("attention",), "mlp": ("mlp",)}[
            config.granularity
        ]
        self.router: Router = catalogue.load("routers", config.router)(config, layer)

    @property
    def executed_tokens(self) -> int:
        """Tokens of the whole batch that passed in the last call over sequences."""
        return int(self._passed)

    def forward(self, x_BTD: Tensor, trip: Trip, cache: BlockCache | None = None) -> Tensor:
        """[B, T, D] to [B, T, D]; in top-k mode exactly k = max(1, floor(c·T)) tokens of each sequence change."""
        part = self.config.granularity
        if part == "mlp":
            x_BTD = x_BTD + self.mix(x_BTD, trip, cache)
        x_BTD = self._route(x_BTD, trip, cache)
        return x_BTD + self.think(x_BTD, trip) if part == "attention" else x_BTD

    def f(self, x_BTD: Tensor, trip: Trip, cache: BlockCache | None = None, rows: Rows | None = None) -> Tensor:
        """What the chosen tokens go through."""
        part = self.config.granularity
        if part == "mlp":
            return self.think(x_BTD, trip)
        return self.mix(x_BTD, trip, cache, rows) if part == "attention" else self.delta(x_BTD, trip, cache, rows)

    def _route(self, x_BTD: Tensor, trip: Trip, cache: BlockCache | None) -> Tensor:
        b, t, d = x_BTD.shape
        with span("router"):
            r_BT = self.router.score(x_BTD, trip)
        if trip.calibrate:
            self.router.calibrate(r_BT, trip.real_BT)
        with span("top-k and sort"):
            chosen = self._choose(x_BTD, r_BT, trip)
        if trip.watch is not None:
            chosen = self._watched(chosen, x_BTD, r_BT, trip)
        i_Bk, k = chosen.index_Bk, chosen.index_Bk.shape[1]
        if not torch.compiler.is_compiling():  # a graph keeps no books
            self._passed = b * k if chosen.count_B is None else chosen.count_B.sum()
        if cache is not None:
            self._count(cache, chosen, trip)
        if k == 0:
            return x_BTD
        with span("gather"):
            flat_N = (i_Bk + torch.arange(b, device=x_BTD.device)[:, None] * t).flatten()
            x_ND = x_BTD.reshape(b * t, d)
            x_BkD, theirs = x_ND[flat_N].view(b, k, d), trip.of(chosen)
        with span("chosen tokens"):
            f_BkD = self.f(x_BkD, theirs, cache)
        if trip.auxiliary is not None and self.router.has_loss and not trip.causal:
            chosen_BT = torch.zeros_like(r_BT, dtype=torch.bool).scatter_(1, i_Bk, True)
            with span("auxiliary loss"):
                trip.auxiliary.append(self.router.loss(x_BTD, r_BT, chosen_BT, trip.real_BT))
        with span("scatter"):
            gated_BkD = _gate(f_BkD, self.router.multiplier(r_BT.gather(1, i_Bk)), chosen.meant_Bk)
            # Indices are unique, so index_add adds once each; unlike scatter_add it has a deterministic CUDA mode.
            return x_ND.index_add(0, flat_N, gated_BkD.to(x_ND.dtype).view(b * k, d)).view(b, t, d)

    def _choose(self, x_BTD: Tensor, r_BT: Tensor, trip: Trip) -> Chosen:
        """Top-k of each row, k following its real length; or those that the causal rule lets pass, however many."""
        t = x_BTD.shape[1]
        if not trip.causal:
            k = self.config.kept(t, self.capacity)
            if trip.lengths_B is None:
                return top_k(r_BT, k)
            m = self.config.round_k
            k_B = (self.capacity * trip.lengths_B.double() + 1e-9).long().clamp(min=1)
            return top_k(r_BT, k, torch.minimum((k_B + m - 1) // m * m, trip.lengths_B), trip.real_BT)
        m_BT = self.router.passes(x_BTD, r_BT, trip)
        if trip.real_BT is not None:
            m_BT = m_BT & trip.real_BT
        return those(m_BT, int(m_BT.sum(1).max()) if trip.on_host else t)

    def _watched(self, chosen: Chosen, x_BTD: Tensor, r_BT: Tensor, trip: Trip) -> Chosen:
        """Record the decision, some of it reversed where the watcher asks for that."""
        assert trip.watch is not None
        mask_BT = mask_of(chosen.index_Bk, chosen.meant_Bk, r_BT.shape[1])
        flip_BT = trip.watch.flips(self.router.layer)
        if flip_BT is not None:
            mask_BT = mask_BT ^ flip_BT
            chosen = those(mask_BT, int(mask_BT.sum(1).max()))
        foretold = None if trip.causal or not self.router.foretells else self.router.passes(x_BTD, r_BT, trip)
        weight_BT = self.router.multiplier(r_BT)
        trip.watch.take(Decision(self.router.layer, r_BT, mask_BT, weight_BT, foretold))
        return chosen

    def _count(self, cache: BlockCache, chosen: Chosen, trip: Trip) -> None:
        b, k = chosen.index_Bk.shape
        seen = b * trip.position_BT.shape[1] if trip.lengths_B is None else int(trip.lengths_B.sum())
        cache.count(seen, b * k if chosen.count_B is None else chosen.count_B.sum())

    def step(self, x_B1D: Tensor, trip: Trip, cache: BlockCache) -> Tensor:
        """One new token of every row; whoever skips leaves nothing in the cache."""
        part = self.config.granularity
        if part == "mlp":
            x_B1D = x_B1D + self.mix(x_B1D, trip, cache, Rows())
        r_B1 = self.router.score(x_B1D, trip)
        wants_B = self.router.passes(x_B1D, r_B1, trip)[:, 0]
        rows = cache.admit(wants_B, r_B1[:, 0], compact=part != "mlp")
        if not rows.empty:
            i_R = rows.index_R
            x_R1D, r_R1 = (x_B1D, r_B1) if i_R is None else (x_B1D[i_R], r_B1[i_R])
            f_R1D = self.f(x_R1D, trip.batch_rows(i_R), cache, rows)
            meant_R1 = None if rows.valid_R is None else rows.valid_R[:, None]
            gated_R1D = _gate(f_R1D, self.router.multiplier(r_R1), meant_R1).to(x_B1D.dtype)
            x_B1D = x_B1D + gated_R1D if i_R is None else x_B1D.index_add(0, i_R, gated_R1D)
        return x_B1D + self.think(x_B1D, trip) if part == "attention" else x_B1D

    def new_cache(self, batch_size: int, max_len: int, like: Tensor) -> BlockCache:
        """Room for the tokens that are expected to pass."""
        share = 1.0 if self.config.granularity == "mlp" else expected_share(self.config)
        return BlockCache(self.config, batch_size, max_len, like, share=share, routed=True)

    def set_progress(self, done: float) -> None:
        """Let the capacity fall from 1 to its value over the first `capacity_warmup` of training."""
        assert self.config.capacity is not None
        self.capacity = scheduled_capacity(self.config.capacity, self.config.capacity_warmup, done)


def _gate(f_BkD: Tensor, multiplier_Bk: Tensor | None, meant_Bk: Tensor | None) -> Tensor:
    """Product of f and the multiplier, and 0 for whoever was computed only to fill the shape. The multiplier is float32."""
    if multiplier_Bk is not None:
        f_BkD = multiplier_Bk[..., None] * f_BkD
    return f_BkD if meant_Bk is None else f_BkD.masked_fill(~meant_Bk[..., None], 0)


def scheduled_capacity(capacity: float, warmup: float, done: float) -> float:
    """Linear from 1 to `capacity` while `done` goes from 0 to `warmup`."""
    return capacity if done >= warmup else 1 + (capacity - 1) * done / warmup


def expected_share(config: ModelConfig) -> float:
    """Share of tokens that a routed block is expected to process at decode."""
    assert config.capacity is not None
    set_by_hand = config.router == "synthetic" and config.participation is not None
    return max(config.participation or 0.0, 1e-6) if set_by_hand else config.capacity


class MoD(Decoder):
    """Dense blocks with a `RoutedBlock` in every `every`-th place."""

    def __init__(self, config: ModelConfig) -> None:
        layers = range(config.n_layers)
        super().__init__(config, (RoutedBlock(config, i) if config.routed(i) else Block(config) for i in layers))


def cost(config: ModelConfig, seq_len: int, batch_size: int) -> Cost:
    """The router scores all tokens; k of them pass."""
    sheet = CostSheet(config, seq_len, batch_size)
    for layer in range(config.n_layers):
        block_cost(sheet.at(f"blocks.{layer}"), layer, sheet.mlp)
    return sheet.total()


def block_cost(sheet: CostSheet, layer: int, think: Callable[..., None]) -> None:
    """One block in the order of its forward pass; `think(n, residual=…)` adds its MLP, whatever that is."""
    config, t = sheet.config, sheet.seq_len
    part = config.granularity if config.routed(layer) else None
    k = config.kept(t) if part else t
    if part in {None, "mlp"}:
        sheet.mixer(t)
    if part:
        sheet.token_router(t, k)
    if part in {"block", "attention"}:
        sheet.mixer(k)
    if part in {"block", "mlp"}:
        think(k, residual=False)
    if part:
        sheet.scatter(t, k)
    if part in {None, "attention"}:
        think(t, residual=True)


def decode_cost(config: ModelConfig, context: int, batch_size: int) -> DecodeCost:
    """Weights of the blocks that some row enters, and the keys and values that the rows which do must read."""
    sheet = DecodeSheet(config, context, batch_size)
    for layer in range(config.n_layers):
        if config.routed(layer):
            sheet.token_router()
        share = expected_share(config) if config.routed(layer) else 1.0
        sheet.mixer(share if config.skips(layer, "attention") else 1.0)
        sheet.mlp(share if config.skips(layer, "mlp") else 1.0)
    return sheet.total()


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
    sees_future=lambda config: config.router in {"learned", "norm"},
    decode_cost=decode_cost,
)
