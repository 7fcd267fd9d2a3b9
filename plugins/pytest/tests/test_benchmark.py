"""pytest-benchmark with our rounds, with our clock, and without itself."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from modbench.plugins.pytest import timer

INTERLEAVED = """
import pytest
@pytest.mark.benchmark(group="mine")
def test_speed(benchmark_interleaved, takes):
    found = benchmark_interleaved(takes(0.001), takes({}, seed=1))
    samples = found.process.samples["candidate"]
    calls = samples["calls"][0]
    assert benchmark_interleaved.benchmark.stats.stats.data == pytest.approx(samples["wall_s"])
    assert calls > 1 and benchmark_interleaved.benchmark.stats.iterations == calls
"""


def test_interleaved_samples_stand_in_the_table_and_the_file(suite: Any) -> None:
    suite.write(INTERLEAVED.format(0.001))
    lines = ["test_speed.py::test_speed *equivalent", "*benchmark 'mine': 1 tests*", "test_speed *"]
    suite.shows(*lines, arguments=["--benchmark-json=out.json", "--benchmark-only"], benchmark=True)
    (one,) = json.loads((suite.pytester.path / "out.json").read_text(encoding="utf-8"))["benchmarks"]
    assert (one["group"], one["options"]["timer"]) == ("mine", "modbench_interleaved")
    assert one["stats"]["median"] == pytest.approx(0.001, rel=0.01)
    assert one["stats"]["rounds"] == 40
    assert one["extra_info"]["modbench"]["verdict"] == "equivalent"


def test_a_shown_regression_fails_and_stays_in_the_table(suite: Any) -> None:
    suite.write(INTERLEAVED.format(0.0011))
    suite.shows("*candidate is slower*", "*benchmark 'mine': 1 tests*", "test_speed *", benchmark=True, failed=1)


BEFORE = """
def test_speed(benchmark, benchmark_interleaved, takes):
    benchmark_interleaved(takes(0.01), takes(0.01))
"""
CALLED = """
def test_speed(benchmark_interleaved):
    called = []
    benchmark_interleaved(lambda: called.append(1), lambda: called.append(2))
    assert called == [1, 2]
"""


@pytest.mark.parametrize(
    ("tests", "flag", "failed", "said"),
    [
        (CALLED, "--benchmark-disable", 0, "inconclusive: *pytest-benchmark is disabled"),
        (CALLED, "--modbench-disable", 0, "inconclusive: *--modbench-disable"),
        (BEFORE, "", 1, "*UsageError: `benchmark` *`benchmark_interleaved`*"),
    ],
    ids=["benchmark is disabled", "modbench is disabled", "benchmark was made before"],
)
def test_where_nothing_is_timed_no_table_is_shown(tests: str, flag: str, failed: int, said: str, suite: Any) -> None:
    suite.write(tests)
    shown = suite.shows(said, arguments=[flag] if flag else [], failed=failed, benchmark=True)
    assert "Name (time in" not in shown


def test_without_pytest_benchmark_it_says_what_is_missing(suite: Any) -> None:
    suite.write(INTERLEAVED.format(0.001))
    result = suite.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["benchmark_interleaved needs pytest-benchmark*"])
    assert "Traceback" not in result.stdout.str()


@pytest.mark.parametrize("used", [True, False])
def test_our_clock_waits_for_a_gpu_that_is_used(used: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[bool] = []
    cuda = SimpleNamespace(is_initialized=lambda: used, synchronize=lambda: waited.append(True))
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    first, second = timer.wall_s(), timer.wall_s()
    assert first <= second
    assert len(waited) == (2 if used else 0)
