"""The four parts of routing: score the tokens, select k of them in order, gather their rows, add the results back.

Shapes: B batch, T tokens, D width, k = T / 8 selected tokens, N = B·k rows.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from modbench.models.layers.context import ForwardContext
from modbench.models.layers.decoder import Decoder
from modbench.models.mod import RoutedBlock, top_k

Build = Callable[..., Decoder]


@pytest.fixture
def index_k(x_BTD: Tensor) -> Tensor:
    """Selected indices [k] of one row, ascending, as `top_k` gives them."""
    t = x_BTD.shape[1]
    return top_k(torch.randn(1, t), t // 8).indices_Bk[0]


def bench_router_score(benchmark: BenchmarkFixture, build: Build, x_BTD: Tensor, ctx: ForwardContext) -> None:
    """The learned router's projection of every token to one number."""
    block = build("mod").blocks[1]
    assert isinstance(block, RoutedBlock)
    r_BT = benchmark(block.router.score, x_BTD, ctx)
    assert r_BT.shape == x_BTD.shape[:2]
    benchmark.extra_info.update(shape=_shape(x_BTD), flops=2 * x_BTD.numel(), bytes=_bytes(x_BTD, x_BTD[0, 0], r_BT))


def bench_top_k(benchmark: BenchmarkFixture, x_BTD: Tensor) -> None:
    """The k highest scores, then their indices in ascending order."""
    r_BT = x_BTD[..., 0].contiguous()
    indices_Bk = benchmark(top_k, r_BT, r_BT.shape[1] // 8).indices_Bk
    assert indices_Bk.shape == (1, 64)
    # The top-k writes indices, the sort reads them and writes them again.
    benchmark.extra_info.update(shape=_shape(r_BT, indices_Bk), bytes=_bytes(r_BT, indices_Bk, indices_Bk, indices_Bk))


def bench_gather(benchmark: BenchmarkFixture, x_BTD: Tensor, index_k: Tensor) -> None:
    """Rows of the selected tokens, copied into one contiguous tensor."""
    x_ND = x_BTD[0]
    x_kD = benchmark(x_ND.__getitem__, index_k)
    assert x_kD.shape == (64, 256)
    benchmark.extra_info.update(shape=_shape(x_ND, x_kD), bytes=_bytes(index_k, x_kD, x_kD))


def bench_scatter(benchmark: BenchmarkFixture, x_BTD: Tensor, index_k: Tensor) -> None:
    """A copy of the stream to which k rows are added: `index_add`, as in the routed block."""
    x_ND, f_kD = x_BTD[0], torch.randn(len(index_k), x_BTD.shape[2])
    y_ND = benchmark(x_ND.index_add, 0, index_k, f_kD)
    assert int((y_ND != x_ND).any(-1).sum()) == len(index_k)
    # The stream is read and written, then k rows of it are read and written again.
    rows = _bytes(index_k, f_kD, f_kD, f_kD)
    benchmark.extra_info.update(shape=_shape(x_ND, f_kD), flops=f_kD.numel(), bytes=_bytes(x_ND, x_ND) + rows)


def _shape(*tensors: Tensor) -> list[list[int]]:
    return [list(x.shape) for x in tensors]


def _bytes(*tensors: Tensor) -> int:
    return sum(x.numel() * x.element_size() for x in tensors)
