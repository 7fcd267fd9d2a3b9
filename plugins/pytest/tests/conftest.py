"""A user's test suite in a folder of its own, run in this process, with a clock that only its callables move."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence
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
SPEED = """
import pytest
import modbench as mb
{mark}
def test_speed(modbench_compare, modbench_clock, takes, monkeypatch):
    baseline = takes(0.01)
{body}
"""


@dataclasses.dataclass
class Suite:
    """A folder of tests."""

    pytester: pytest.Pytester

    def write(self, tests: str, name: str = "test_speed") -> None:
        self.pytester.makepyfile(**{name: tests})

    def compare(self, body: str, mark: str = "", name: str = "test_speed") -> None:
        """Write a test with this body, which has the fixtures, and a baseline of 0.01 s."""
        self.write(SPEED.format(mark=mark, body=textwrap.indent(textwrap.dedent(body), "    ")), name)

    def run(self, *arguments: str, rounds: int | None = 20, benchmark: bool = False) -> pytest.RunResult:
        plugins = ["-p", "modbench.plugins.pytest.fixtures", *(("-p", "pytest_benchmark.plugin") if benchmark else ())]
        few = () if rounds is None else (f"--modbench-rounds={rounds}",)
        return self.pytester.runpytest_inprocess(*plugins, "-W", "error", "-p", "no:cacheprovider", *few, *arguments)

    def shows(self, *lines: str, failed: int = 0, passed: int = 1, arguments: Sequence[str] = (), **more: Any) -> str:
        """Run it: so many tests pass, or fail, and the output, which is returned, has lines of these patterns in this order."""
        result = self.run(*arguments, **more)
        result.assert_outcomes(passed=0 if failed else passed, failed=failed)
        result.stdout.fnmatch_lines([*lines])
        return result.stdout.str()


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """An empty suite with a fake clock; what is installed here is not loaded by itself, and this is no worker."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    pytester.makeconftest(CLOCK)
    return Suite(pytester)
