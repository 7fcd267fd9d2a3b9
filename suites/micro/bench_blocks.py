"""Whole blocks over a sequence: dense, routed at capacity 0.125, and experts that choose their tokens.

FLOPs are the closed form's, without the head, scores over the full square. Shapes: B batch, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable

from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from modbench.harness.core.config import kept
from modbench.models.layers.context import ForwardContext
from modbench.models.layers.cost import CostSheet
from modbench.models.layers.decoder import Block, Decoder, mixer_cost, mlp_cost
from modbench.models.layers.experts import ExpertMLP, experts_cost
from modbench.models.mod import RoutedBlock, block_cost

Build = Callable[..., Decoder]


def bench_dense_block(benchmark: BenchmarkFixture, build: Build, x_BTD: Tensor, ctx: ForwardContext) -> None:
    """Attention and MLP over all tokens."""
    block = build("dense").blocks[0]
    assert isinstance(block, Block)
    assert benchmark(block, x_BTD, ctx).shape == x_BTD.shape
    t = x_BTD.shape[1]
    sheet = CostSheet(block.config, t, 1)
    mixer_cost(sheet, t)
    mlp_cost(sheet, t)
    benchmark.extra_info.update(shape=list(x_BTD.shape), flops=_without_head(sheet))


def bench_routed_block(benchmark: BenchmarkFixture, build: Build, x_BTD: Tensor, ctx: ForwardContext) -> None:
    """Score, top-k, gather, attention and MLP over an eighth of the tokens, scatter."""
    block = build("mod", capacity=0.125).blocks[1]
    assert isinstance(block, RoutedBlock)
    y_BTD = benchmark(block, x_BTD, ctx)
    t = x_BTD.shape[1]
    k = block.config.kept(t)
    assert int((y_BTD != x_BTD).any(-1).sum()) == k
    sheet = CostSheet(block.config, t, 1)
    block_cost(sheet, 1, mlp_cost)
    benchmark.extra_info.update(shape=list(x_BTD.shape), k=k, flops=_without_head(sheet))


def bench_experts(benchmark: BenchmarkFixture, build: Build, x_BTD: Tensor, ctx: ForwardContext) -> None:
    """Four experts, each over a quarter of the tokens: the FLOPs of one MLP, plus routing."""
    block = build("moe").blocks[1]
    assert isinstance(block, Block)
    assert isinstance(block.mlp, ExpertMLP)
    assert benchmark(block.mlp, x_BTD, ctx).shape == x_BTD.shape
    t = x_BTD.shape[1]
    k = kept(block.mlp.share, t)
    sheet = CostSheet(block.config, t, 1)
    experts_cost(sheet, t, k)
    info = {"shape": list(x_BTD.shape), "experts": block.mlp.n_experts, "k": k, "flops": _without_head(sheet)}
    benchmark.extra_info.update(info)


def _without_head(sheet: CostSheet) -> float:
    return sum(flops for part, flops in sheet.total().parts.items() if part != "head")
