"""Tests of speed in your own suite: `pytest examples/test_speed.py`, where modbench is installed.

plugins/pytest/README.md explains them.

Shapes: T tokens, D width, k selected tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

T, D = 512, 256
MLP = nn.Sequential(nn.Linear(D, 4 * D), nn.GELU(), nn.Linear(4 * D, D)).eval()


def dense(x_TD: Tensor) -> Tensor:
    """Every token through the MLP."""
    return x_TD + MLP(x_TD)


def routed(x_TD: Tensor, index_k: Tensor) -> Tensor:
    """The selected tokens through the MLP, the others past it."""
    return x_TD.index_add(0, index_k, MLP(x_TD[index_k]))


@pytest.fixture(name="x_TD")
def _tokens() -> Iterator[Tensor]:
    """Tokens, for a forward pass without gradients."""
    with torch.no_grad():
        yield torch.randn(T, D, generator=torch.Generator().manual_seed(0))


def test_an_eighth_of_the_tokens_is_not_slower(modbench_compare: Callable[..., object], x_TD: Tensor) -> None:
    """Fails only if routing is shown to be slower, by more than 2 %."""
    index_k = torch.arange(0, T, 8)
    modbench_compare(lambda: dense(x_TD), lambda: routed(x_TD, index_k))


@pytest.mark.modbench(margin=0.5)
def test_gather_and_scatter_stay_cheap(modbench_compare: Callable[..., object], x_TD: Tensor) -> None:
    """With all tokens selected, routing may cost half as much again."""
    index_k = torch.arange(T)
    modbench_compare(lambda: dense(x_TD), lambda: routed(x_TD, index_k))


@pytest.mark.parametrize("share", [8, 2])
def test_in_the_table_of_pytest_benchmark(
    share: int, benchmark_interleaved: Callable[..., object], x_TD: Tensor
) -> None:
    """The same, and the routed side's samples also go where pytest-benchmark's go: table, JSON, --benchmark-compare."""
    index_k = torch.arange(0, T, share)
    benchmark_interleaved(lambda: dense(x_TD), lambda: routed(x_TD, index_k))
