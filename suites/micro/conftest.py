"""What the micro benchmarks share: a seed, one thread, no gradients, and components at d = 256, T = 512, B = 1.

Shapes: B batch, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from modbench.harness.core import catalogue
from modbench.harness.core.config import ModelConfig
from modbench.models.layers.context import ForwardContext
from modbench.models.layers.decoder import Decoder

Build = Callable[..., Decoder]


def pytest_configure(config: pytest.Config) -> None:
    """Collect `bench_*` as well as `test_*`; only this folder has such files."""
    config.addinivalue_line("python_files", "bench_*.py")
    config.addinivalue_line("python_functions", "bench_*")


@pytest.fixture(autouse=True)
def _reproducible() -> Iterator[None]:
    """Seed 0, one thread and no gradients; the number of threads is restored."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with torch.no_grad():
        yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _records_its_cost(benchmark: BenchmarkFixture) -> Iterator[None]:
    """Check that every benchmark records its shape and the FLOPs or bytes of one call."""
    yield
    info = benchmark.extra_info
    assert "shape" in info
    assert info.get("flops", 0) > 0 or info.get("bytes", 0) > 0


@pytest.fixture
def build() -> Build:
    """A catalogue model with its defaults, in eval mode: components come from models, which initialise their weights."""

    def from_catalogue(name: str, **changes: object) -> Decoder:
        keys = {"d_model": 256, "n_layers": 2, "max_seq_len": 512, **catalogue.model_options(name), **changes}
        model = catalogue.load("models", name).build(ModelConfig.model_validate(keys))
        assert isinstance(model, Decoder)
        return model.eval()

    return from_catalogue


@pytest.fixture(name="x_BTD")
def _stream() -> Tensor:
    """A residual stream [1, 512, 256] of standard deviation 1, as the embedding gives."""
    return torch.randn(1, 512, 256, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def ctx(build: Build) -> ForwardContext:
    """The context of a forward pass over 512 tokens, routed by top-k."""
    return build("dense").context(torch.zeros(1, 512, dtype=torch.int64), None, causal=False)
