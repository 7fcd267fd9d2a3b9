"""Operators that torch's counter leaves out: each has a formula, or is listed. No zero is silent."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modbench.harness.planning.flops import counter
from modbench.harness.planning.flops.counter import is_cheap


class Calls(nn.Module):
    """A module around a function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: Tensor) -> Any:
        return self.function(*tensors)


def counted(function: Callable[..., Any], *tensors: Tensor) -> counter.Count:
    with torch.no_grad():
        module = Calls(function)
        return counter.count(module, lambda: module(*tensors))


def attention(heads: int, kv: int, *, causal: bool) -> tuple[Callable[..., Any], tuple[Tensor, ...], int]:
    """Up to torch 2.13 the counter said 0 here on a CPU without a word."""
    q, k = torch.randn(2, heads, 20, 8), torch.randn(2, kv, 20, 8)
    call = partial(F.scaled_dot_product_attention, is_causal=causal, enable_gqa=heads != kv)
    return call, (q, k, k), 2 * 2 * heads * 20 * 20 * 16


ENDS = torch.tensor([8, 16, 24, 32], dtype=torch.int32)
BF16 = torch.bfloat16
COUNTED: dict[str, tuple[Callable[..., Any], tuple[Tensor, ...], int]] = {
    "mat-vec": (torch.mv, (torch.randn(5, 7), torch.randn(7)), 2 * 5 * 7),
    "addmv": (torch.addmv, (torch.randn(5), torch.randn(5, 7), torch.randn(7)), 2 * 5 * 7),
    "outer": (torch.addr, (torch.randn(5, 7), torch.randn(5), torch.randn(7)), 2 * 5 * 7),
    "integers": (
        torch._int_mm,
        (torch.ones(32, 16).to(torch.int8), torch.ones(16, 24).to(torch.int8)),
        2 * 32 * 16 * 24,
    ),
    "dot": (torch.dot, (torch.randn(7), torch.randn(7)), 2 * 7),
    "einsum": (partial(torch.einsum, "bij,bjk->bik"), (torch.randn(2, 3, 4), torch.randn(2, 4, 5)), 2 * 2 * 3 * 4 * 5),
    # As experts are computed: 32 tokens, each through one of four [16, 24] matrices.
    "grouped": (
        partial(F.grouped_mm, offs=ENDS),
        (torch.randn(32, 16, dtype=BF16), torch.randn(4, 16, 24, dtype=BF16)),
        2 * 32 * 16 * 24,
    ),
    "attention": attention(4, 4, causal=False),
    "causal grouped queries": attention(4, 2, causal=True),
}


@pytest.mark.parametrize("name", COUNTED)
def test_products_are_counted(name: str) -> None:
    function, tensors, expected = COUNTED[name]
    found = counted(function, *tensors)
    assert (found.total, found.unknown) == (expected, [])


ENCODER = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True).eval()
ATTENTION = nn.MultiheadAttention(32, 4, batch_first=True).eval()


@pytest.mark.parametrize(
    ("module", "call", "of_a_token"),
    [
        (ENCODER, ENCODER, 2 * (4 * 32 * 32 + 2 * 32 * 64)),
        (ATTENTION, lambda x_BTD: ATTENTION(x_BTD, x_BTD, x_BTD, need_weights=False), 2 * 4 * 32 * 32),
    ],
    ids=["encoder", "attention"],
)
def test_the_fast_path_of_an_encoder_is_counted(
    module: nn.Module, call: Callable[[Tensor], object], of_a_token: int
) -> None:
    """`nn.TransformerEncoderLayer` in evaluation is one fused operator, which no counter knows."""
    with torch.no_grad():
        found = counter.count(module, lambda: call(torch.randn(2, 10, 32)))
    assert (found.total, found.unknown) == (20 * of_a_token + 4 * 20 * 10 * 32, [])


def test_what_has_no_formula_is_listed() -> None:
    """A fused recurrent layer, and a custom operator around a product: their zero is no fact, and says so."""
    recurrent = nn.LSTM(8, 8, batch_first=True).eval()
    x_BTD = torch.randn(2, 5, 8)
    with torch.no_grad():
        assert counter.count(recurrent, lambda: recurrent(x_BTD)).unknown == ["aten.mkldnn_rnn_layer"]

    @torch.library.custom_op("modbench_tests::product", mutates_args=())
    def product(a: Tensor, b: Tensor) -> Tensor:
        return a @ b

    found = counted(product, torch.randn(3, 4), torch.randn(4, 5))
    assert found.total == 0
    assert found.operators["unknown"] == {"modbench_tests.product": 1}


def test_a_product_is_never_called_cheap() -> None:
    aten = torch.ops.aten
    for product in (aten.mm, aten.bmm, aten.addmm, aten.mv, aten.convolution, aten.linear, aten.mkldnn_rnn_layer):
        assert not is_cheap(product.default), product
