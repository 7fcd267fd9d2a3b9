"""Generation at 4 layers of width 256: prefill of one prompt, and decode steps of eight rows around 256 tokens of context.

Eight rows, since with one the policies `budget` and `masked` do the same. Half the blocks of the MoD are routed, by a
synthetic router that selects an eighth of the tokens. It decides by position, so the timed steps are successive ones.

Shapes: B batch, T tokens of the prompt, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from modbench.harness.registry import catalogue
from modbench.models.layers.cost import CostSheet
from modbench.models.layers.decoder import Decoder, mixer_cost, mlp_cost

Build = Callable[..., Decoder]

ROWS, CONTEXT, STEPS, WARM_UP = 8, 256, 128, 16
SYNTHETIC = {"router": "synthetic", "capacity": 0.125}


def bench_decode_dense(benchmark: BenchmarkFixture, build: Build) -> None:
    """Every row through every block."""
    _decode(benchmark, build("dense", n_layers=4), "dense")


@pytest.mark.parametrize("policy", ["host", "budget", "masked"])
def bench_decode_mod(benchmark: BenchmarkFixture, build: Build, policy: str) -> None:
    """The rows that each decode policy computes: the selected ones, a fixed quarter, or all."""
    _decode(benchmark, build("mod", n_layers=4, decode_policy=policy, **SYNTHETIC), "mod")


@pytest.mark.parametrize("name", ["dense", "mod"])
def bench_prefill(benchmark: BenchmarkFixture, build: Build, name: str) -> None:
    """One prompt of 256 tokens, routed causally if routed; logits after its last token only."""
    model = build(name, n_layers=4, **(SYNTHETIC if name == "mod" else {}))
    prompt_BT = _tokens(1, CONTEXT)
    logits_BV, cache = benchmark(model.prefill, prompt_BT, max_len=CONTEXT)
    assert logits_BV.shape == (1, model.config.vocab_size)
    sheet = CostSheet(model.config, 1, 1)  # the head reads one token
    for share in cache.participation():
        n = CONTEXT if share is None else round(share * CONTEXT)
        mixer_cost(sheet, n)
        mlp_cost(sheet, n)
    info = {"shape": list(prompt_BT.shape), "participation": cache.participation(), "flops": sheet.total().forward}
    benchmark.extra_info.update(info)


def _decode(benchmark: BenchmarkFixture, model: Decoder, name: str) -> None:
    """Time single steps, the middle one at `CONTEXT` tokens; record the bytes that one reads, and the participation."""
    prompt_BT = _tokens(ROWS, CONTEXT - STEPS // 2 - WARM_UP)
    _, cache = model.prefill(prompt_BT, max_len=CONTEXT + STEPS // 2)
    cache.reset_counts()
    token_B = prompt_BT[:, -1]
    pedantic: Callable[..., Tensor] = benchmark.pedantic  # which has no types
    logits_BV = pedantic(model.decode, (token_B, cache), rounds=STEPS, warmup_rounds=WARM_UP)
    assert logits_BV.shape == (ROWS, model.config.vocab_size)
    elements = catalogue.load("models", name).decode_cost(model.config, CONTEXT, ROWS).read
    info = {
        "shape": [ROWS, 1],
        "context": CONTEXT,
        "bytes": elements * logits_BV.element_size(),
        "participation": cache.participation(),
        "overflow": cache.overflow(),
    }
    benchmark.extra_info.update(info)


def _tokens(b: int, t: int) -> Tensor:
    return torch.randint(256, (b, t), generator=torch.Generator().manual_seed(2))
