"""The fixture `benchmark_interleaved`, where pytest-benchmark is loaded and where it is not. Imports nothing but pytest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from modbench.testing.comparer import Comparer
    from modbench.testing.interleaved import Interleaved, Replay


class WithBenchmark:
    """Fixtures where pytest-benchmark is loaded."""

    @pytest.fixture
    def _modbench_replay(self, request: pytest.FixtureRequest) -> Replay:
        """Give the test a timer: what `benchmark` reads of its marker, it reads when it is made."""
        from modbench.testing.interleaved import Replay

        replay, marker = Replay(), request.node.get_closest_marker("benchmark")
        options = {**(marker.kwargs if marker else {}), "timer": replay.timer()}
        request.node.add_marker(pytest.mark.benchmark(**options), append=False)
        return replay

    @pytest.fixture
    def benchmark_interleaved(
        self, _modbench_replay: Replay, benchmark: BenchmarkFixture, modbench_compare: Comparer
    ) -> Interleaved:
        """Compare as `modbench_compare` does; the candidate's samples also stand in pytest-benchmark's table and files."""
        from modbench.testing.interleaved import Interleaved

        return Interleaved(benchmark, modbench_compare, _modbench_replay)


class WithoutBenchmark:
    """The fixture where pytest-benchmark is not loaded."""

    @pytest.fixture
    def benchmark_interleaved(self) -> None:
        """Name what is missing."""
        pytest.fail(
            "benchmark_interleaved needs pytest-benchmark, which is not loaded: leave out `-p no:benchmark`, or name "
            "`-p pytest_benchmark.plugin`; modbench_compare does without.",
            pytrace=False,
        )
