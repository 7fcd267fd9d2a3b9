"""A user's test suite in a folder of its own, run in this process, with a clock that only its callables move."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import scipy.stats  # noqa: F401  # an inner pytest forgets what it imported, which numpy and scipy do not survive

import modbench.reports.markup.text  # noqa: F401  # as above

CLOCK = """
import pytest
from moving_clock import FakeClock

@pytest.fixture
def modbench_clock():
    return FakeClock()

@pytest.fixture
def takes(modbench_clock):
    return lambda seconds, noise=0.002, seed=0: modbench_clock.takes(seconds, noise, seed)
"""
SLOWER = """
def test_speed(modbench_compare, takes):
    modbench_compare(takes(0.01), takes({}, seed=1))
"""


@dataclasses.dataclass
class Suite:
    """A folder of tests."""

    pytester: pytest.Pytester

    def write(self, tests: str, name: str = "test_speed") -> None:
        self.pytester.makepyfile(**{name: tests})

    def run(self, *arguments: str, rounds: int | None = 20, benchmark: bool = False) -> pytest.RunResult:
        plugins = ["-p", "modbench.plugins.pytest.fixtures", *(("-p", "pytest_benchmark.plugin") if benchmark else ())]
        few = () if rounds is None else (f"--modbench-rounds={rounds}",)
        return self.pytester.runpytest_inprocess(*plugins, "-W", "error", "-p", "no:cacheprovider", *few, *arguments)

    def shows(self, *lines: str, failed: int = 0, **more: Any) -> None:
        """Run it: its test passes, or so many fail, and the output has lines of these patterns, in this order."""
        result = self.run(**more)
        result.assert_outcomes(passed=not failed, failed=failed)
        result.stdout.fnmatch_lines([*lines])


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """An empty suite with a fake clock; what is installed here is not loaded by itself, and this is no worker."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    pytester.makeconftest(CLOCK)
    return Suite(pytester)


@pytest.fixture
def slower() -> Callable[[float], str]:
    """A test file whose candidate takes so many seconds, where the baseline takes 0.01."""
    return SLOWER.format
