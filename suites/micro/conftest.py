"""What the micro benchmarks share: a seed, one thread, no gradients, and components at d = 256, T = 512, B = 1.

Shapes: B batch, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from modbench.harness.core.config import ModelConfig
from modbench.harness.registry import catalogue
from modbench.models.layers.context import ForwardContext
from modbench.models.layers.decoder import Decoder

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

Build = Callable[..., Decoder]


class Benchmarks(pytest.Module):
    """A file of benchmarks: its functions are named `bench_*`, here and not in other folders of the same session."""

    def funcnamefilter(self, name: str) -> bool:
        """Whether a function is a benchmark."""
        return name.startswith("bench_")

    def collect(self) -> Iterator[pytest.Item | pytest.Collector]:
        """Collect the benchmarks.

        Raises:
            CollectError: pytest-benchmark is not loaded.
        """
        if not hasattr(self.config.option, "benchmark_disable"):
            raise self.CollectError(
                f"{self.path.name} needs the fixture of pytest-benchmark, which is not loaded: "
                "leave out `-p no:benchmark`, or name `-p pytest_benchmark.plugin`."
            )
        return iter(super().collect())


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> Benchmarks | None:
    """Make the collector of a file in this folder."""
    return Benchmarks.from_parent(parent, path=module_path) if module_path.match("bench_*.py") else None


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(
    file_path: Path, parent: pytest.Collector
) -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Collect the files of this folder that pytest does not take for tests by their name."""
    found = yield
    benchmarks = None if found else pytest_pycollect_makemodule(file_path, parent)
    return found if benchmarks is None else [benchmarks]


def _is_ours(request: pytest.FixtureRequest) -> bool:
    """Whether a test is one of these: where this folder lies outside pytest's root, older versions ask for all tests."""
    return request.node.getparent(Benchmarks) is not None


@pytest.fixture(autouse=True)
def _reproducible(request: pytest.FixtureRequest) -> Iterator[None]:
    """Seed 0, one thread and no gradients; the number of threads is restored."""
    if not _is_ours(request):
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with torch.no_grad():
        yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _records_its_cost(request: pytest.FixtureRequest) -> Iterator[None]:
    """Check that every benchmark records its shape and the FLOPs or bytes of one call."""
    if not _is_ours(request):
        yield
        return
    benchmark: BenchmarkFixture = request.getfixturevalue("benchmark")
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
