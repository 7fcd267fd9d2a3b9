"""The export for pytest-benchmark: its own code makes the same statistics of the samples, and its command reads it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import pytest

from modbench.extend import Loaded, load, planted_plan, planted_run
from modbench.plugins.pytest import format as pytest_benchmark


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """Two lengths, three variants, of which one fails."""
    variants = [{"model": "dense"}, {"model": "mod", "capacity": [0.125]}, {"model": "moe"}]
    plan = planted_plan("draft", metrics=["flops/forward", "latency/forward"], variants=variants, processes=3, rounds=2)
    return load(planted_run(tmp_path_factory.mktemp("export"), plan, fails="moe"))


def theirs(data: Sequence[float]) -> dict[str, Any]:
    """What its own code makes of samples."""
    made: Any = importlib.import_module("pytest_benchmark.stats").Stats()
    for value in data:
        made.update(value)
    return {name: value if isinstance(value, str) else pytest.approx(value) for name, value in made.as_dict().items()}


@pytest.mark.parametrize("n", range(1, 14))
def test_statistics_are_theirs(n: int) -> None:
    data = [((7 * i) % 13) ** 2 / 7 + 0.001 for i in range(n)]
    assert pytest_benchmark.statistics_of(data) == theirs(data)


def test_it_has_every_sample_and_says_that_verdicts_are_elsewhere(loaded: Loaded) -> None:
    made = pytest_benchmark.exported(loaded)["benchmarks"]
    names = [each["param"].replace("-B1-fp32-cpu1", "") for each in made]
    assert names == ["dense[T64]", "mod[c0.125-T64]", "dense[T128]", "mod[c0.125-T128]"]  # what failed has no times
    for benchmark in made:
        stats, info = benchmark["stats"], benchmark["extra_info"]
        assert {name: stats[name] for name in theirs(stats["data"])} == theirs(stats["data"])
        assert sum(info["processes"].values()) == stats["rounds"]
        assert "Verdicts come from modbench" in info["note"]
        assert info["modbench_verdict"] == (None if benchmark["params"]["variant"] == "dense" else "better")
