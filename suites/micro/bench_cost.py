"""The closed form of the cost, which planning evaluates at every step of its search for matched variants."""

from __future__ import annotations

from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture

from modbench.harness.core.config import ModelConfig
from modbench.harness.registry import catalogue
from modbench.models import mod


def bench_cost(benchmark: BenchmarkFixture) -> None:
    """A MoD of width 1024 and 24 layers over 8 sequences of 2,048 tokens; `flops` are the model's, not the call's."""
    keys: dict[str, Any] = {"d_model": 1024, "n_layers": 24, **catalogue.model_options("mod")}
    cost = benchmark(mod.cost, ModelConfig(**keys), 2048, 8)
    benchmark.extra_info.update(shape=[8, 2048], flops=cost.forward)
