"""What the micro benchmarks share: a seed, one thread, no gradients, and components at d = 256, T = 512, B = 1.

Shapes: B batch, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from modbench.harness.core import catalogue
from modbench.harness.core.config import ModelConfig
from modbench.models.layers.decoder import Decoder
from modbench.models.layers.trip import Trip

Build = Callable[..., Decoder]


def pytest_configure(config: pytest.Config) -> None:
    """Collect `bench_*` beside `test_*`: here alone are there files of that name."""
    config.addinivalue_line("python_files", "bench_*.py")
    config.addinivalue_line("python_functions", "bench_*")


@pytest.fixture(autouse=True)
def _still() -> Iterator[None]:
    """Seed 0, one thread and no gradients; threads are given back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with torch.no_grad():
        yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _says_what_it_costs(benchmark: BenchmarkFixture) -> Iterator[None]:
    """Hold every benchmark to saying its shape and the FLOPs or bytes of one call."""
    yield
    info = benchmark.extra_info
    assert "shape" in info
    assert info.get("flops", 0) > 0 or info.get("bytes", 0) > 0


@pytest.fixture
def build() -> Build:
    """A catalogue model with its defaults, in eval mode: components are taken from models, which draw their weights."""

    def from_catalogue(name: str, **changes: Any) -> Decoder:  # noqa: ANN401  # any key of ModelConfig
        keys = {"d_model": 256, "n_layers": 2, "max_seq_len": 512, **catalogue.model_options(name), **changes}
        model = catalogue.load("models", name).build(ModelConfig(**keys))
        assert isinstance(model, Decoder)
        return model.eval()

    return from_catalogue


@pytest.fixture(name="x_BTD")
def _stream() -> Tensor:
    """A residual stream [1, 512, 256] of deviation 1, as the embedding makes it."""
    return torch.randn(1, 512, 256, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def trip(build: Build) -> Trip:
    """The trip of 512 tokens, routed by top-k."""
    return build("dense").trip(torch.zeros(1, 512, dtype=torch.int64), None, causal=False)
