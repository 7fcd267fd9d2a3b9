"""The pytest plug-in: fixtures that compare the speed of two callables, and their options.

Loaded at every start of pytest where modbench is installed, so it imports nothing but pytest; a test that needs more loads it.
PYTEST_DONT_REWRITE: else pytest warns where this was imported before.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from modbench.extend import Clock
    from modbench.plugins.pytest.comparer import Comparer
    from modbench.plugins.pytest.interleaved import Interleaved, Replay

__all__ = ["modbench_clock", "modbench_compare"]
# Of pytest's configuration, each with `modbench_` before it.
KEYS = ("margin", "rounds", "threads")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options and the keys of pytest's configuration."""
    group = parser.getgroup("modbench", "speed of two callables (modbench)")
    group.addoption(
        "--modbench-rounds",
        metavar="N",
        help="Rounds of every comparison, from 6 on. Default: as many as fit into three seconds, 10 to 100.",
    )
    group.addoption(
        "--modbench-disable",
        action="store_true",
        help="Call everything once, without timing; nothing is judged.",
    )
    parser.addini(
        "modbench_margin", "Largest slowdown that does not matter, such as 0.02 or 2%, the default", default=None
    )
    parser.addini(
        "modbench_rounds", "Rounds of every comparison. Default: as many as fit into three seconds.", default=None
    )
    parser.addini("modbench_threads", "Threads of torch in comparisons. Default: as many as it has.", default=None)


def pytest_configure(config: pytest.Config) -> None:
    """Check the options, and register the collector of the session."""
    config.addinivalue_line(
        "markers",
        "modbench(margin, rounds, threads): settings of the comparisons of modbench_compare in this test.",
    )
    config.pluginmanager.register(_Session(config), "modbench-session")
    has_benchmark = hasattr(config.option, "benchmark_disable")
    config.pluginmanager.register(WithBenchmark() if has_benchmark else WithoutBenchmark(), "modbench-benchmark")


class _Session:
    """The comparisons of a session.

    Args:
        config: pytest's.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.rows = list[dict[str, Any]]()
        self.ini = {key: config.getini(f"modbench_{key}") or None for key in KEYS}
        self.command_line = {"rounds": config.getoption("modbench_rounds")}
        if any((*self.ini.values(), *self.command_line.values())):
            self._check()

    def _check(self) -> None:
        from modbench.extend import UsageError
        from modbench.plugins.pytest.settings import resolve

        try:
            resolve({}, {}, self.ini, self.command_line)
        except UsageError as error:
            raise pytest.UsageError(f"modbench: {error}") from error

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect comparisons, also those of workers of pytest-xdist."""
        if report.when == "teardown":
            self.rows += [json.loads(str(value)) for key, value in report.user_properties if key == "modbench"]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show all comparisons."""
        if not self.rows:
            return
        from modbench.plugins.pytest.result import summary

        terminalreporter.section("modbench: above 1 the candidate is faster; intervals hold for this process")
        for line in summary(self.rows):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def modbench_clock() -> Clock | None:
    """The clock that comparisons read: None is this machine's. A test of slow code may override it with a fake one."""
    return None


@pytest.fixture
def modbench_compare(request: pytest.FixtureRequest, modbench_clock: Clock | None) -> Comparer:
    """Compare two functions: `modbench_compare(baseline, candidate, margin=0.02)` fails if the second is shown to be slower."""
    from modbench.plugins.pytest.comparer import Comparer, SessionSettings

    session = request.config.pluginmanager.get_plugin("modbench-session")
    assert isinstance(session, _Session)
    marker: dict[str, Any] = {}
    for mark in reversed(list(request.node.iter_markers("modbench"))):
        if mark.args:
            raise pytest.UsageError("@pytest.mark.modbench takes keywords: margin=0.05, rounds=30, threads=1.")
        marker |= mark.kwargs
    disabled = bool(request.config.getoption("modbench_disable"))
    settings = SessionSettings(session.ini, session.command_line, marker, disabled)
    return Comparer(request.node, settings, modbench_clock)


class WithBenchmark:
    """Fixtures where pytest-benchmark is loaded."""

    @pytest.fixture
    def _modbench_replay(self, request: pytest.FixtureRequest) -> Replay:
        """Give the test a timer: what `benchmark` reads of its marker, it reads when it is made."""
        from modbench.plugins.pytest.interleaved import Replay

        replay, marker = Replay(), request.node.get_closest_marker("benchmark")
        options = {**(marker.kwargs if marker else {}), "timer": replay.timer()}
        request.node.add_marker(pytest.mark.benchmark(**options), append=False)
        return replay

    @pytest.fixture
    def benchmark_interleaved(
        self, _modbench_replay: Replay, benchmark: BenchmarkFixture, modbench_compare: Comparer
    ) -> Interleaved:
        """Compare as `modbench_compare` does; the candidate's samples also stand in pytest-benchmark's table and files."""
        from modbench.plugins.pytest.interleaved import Interleaved

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
