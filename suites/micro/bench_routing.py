"""The four parts of routing: score the tokens, choose k of them in order, gather their rows, add results back.

Shapes: B batch, T tokens, D width, k = T / 8 chosen tokens, N = B·k rows.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from modbench.models.layers.decoder import Decoder
from modbench.models.layers.trip import Trip, top_k
from modbench.models.mod import RoutedBlock

Build = Callable[..., Decoder]


@pytest.fixture
def index_k(x_BTD: Tensor) -> Tensor:
    """One row's chosen places [k], ascending, as `top_k` gives them."""
    t = x_BTD.shape[1]
    return top_k(torch.randn(1, t), t // 8).index_Bk[0]


def bench_router_score(benchmark: BenchmarkFixture, build: Build, x_BTD: Tensor, trip: Trip) -> None:
    """The learned router's projection of every token to one number."""
    block = build("mod").blocks[1]
    assert isinstance(block, RoutedBlock)
    r_BT = benchmark(block.router.score, x_BTD, trip)
    assert r_BT.shape == x_BTD.shape[:2]
    benchmark.extra_info.update(shape=_shape(x_BTD), flops=2 * x_BTD.numel(), bytes=_bytes(x_BTD, x_BTD[0, 0], r_BT))


def bench_top_k(benchmark: BenchmarkFixture, x_BTD: Tensor) -> None:
    """The k highest scores, then their places in ascending order."""
    r_BT = x_BTD[..., 0].contiguous()
    index_Bk = benchmark(top_k, r_BT, r_BT.shape[1] // 8).index_Bk
    assert index_Bk.shape == (1, 64)
    # The top-k writes indices, the sort reads them and writes them again.
    benchmark.extra_info.update(shape=_shape(r_BT, index_Bk), bytes=_bytes(r_BT, index_Bk, index_Bk, index_Bk))


def bench_gather(benchmark: BenchmarkFixture, x_BTD: Tensor, index_k: Tensor) -> None:
    """Rows of the chosen tokens, copied to where they lie side by side."""
    x_ND = x_BTD[0]
    x_kD = benchmark(x_ND.__getitem__, index_k)
    assert x_kD.shape == (64, 256)
    benchmark.extra_info.update(shape=_shape(x_ND, x_kD), bytes=_bytes(index_k, x_kD, x_kD))


def bench_scatter(benchmark: BenchmarkFixture, x_BTD: Tensor, index_k: Tensor) -> None:
    """A copy of the stream with k rows added to their places: `index_add`, as the routed block does it."""
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
