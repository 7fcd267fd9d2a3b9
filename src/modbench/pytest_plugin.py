"""The pytest plug-in: fixtures that compare the speed of two callables, and their options.

Loaded at every start of pytest where modbench is installed, so it imports nothing but pytest; a test that needs more loads it.
PYTEST_DONT_REWRITE: else pytest warns where this was imported before.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from modbench.testing.benchmark_fixtures import WithBenchmark, WithoutBenchmark

if TYPE_CHECKING:
    from modbench.harness.timing.interleave import Clock
    from modbench.testing.comparer import Comparer
    from modbench.testing.session_store import SessionStore

__all__ = ["modbench_clock", "modbench_compare"]
# Of pytest's configuration, each with `modbench_` before it.
KEYS = ("margin", "rounds", "against_margin", "threads")


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
    group.addoption(
        "--modbench-store",
        metavar="PATH",
        help="Keep the raw samples of this session: in a file if PATH ends in .json, else in a new file in that folder.",
    )
    group.addoption(
        "--modbench-against",
        metavar="PATH",
        action="append",
        default=[],
        help="Compare the ratio of each pair with those of stored sessions of this machine: a file, or a folder of files; may "
        "be repeated. Three sessions tell how much sessions differ; with fewer nothing fails.",
    )
    parser.addini("modbench_margin", "Largest slowdown that does not matter, as a share. Default: 0.02", default=None)
    parser.addini(
        "modbench_rounds", "Rounds of every comparison. Default: as many as fit into three seconds.", default=None
    )
    parser.addini("modbench_against_margin", "The same against stored sessions. Default: the margin.", default=None)
    parser.addini("modbench_threads", "Threads of torch in comparisons. Default: as many as it has.", default=None)


def pytest_configure(config: pytest.Config) -> None:
    """Check the options, and register the collector of the session."""
    config.addinivalue_line(
        "markers",
        "modbench(margin, rounds, against_margin, threads): settings of the comparisons of modbench_compare in this test.",
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
        self.config, self.rows = config, list[dict[str, Any]]()
        self.store: SessionStore | None = None
        self.ini = {key: config.getini(f"modbench_{key}") or None for key in KEYS}
        self.command_line = {"rounds": config.getoption("modbench_rounds")}
        store, against = config.getoption("modbench_store"), config.getoption("modbench_against")
        if any((*self.ini.values(), *self.command_line.values(), store, against)):
            self._check(store, against)

    def _check(self, store: str | None, against: list[str]) -> None:
        from modbench.harness.core.errors import UsageError
        from modbench.testing.settings import resolve

        try:
            resolve({}, {}, self.ini, self.command_line)
            if store or against:
                from modbench.testing.session_store import SessionStore

                self.store = SessionStore(self.config.invocation_params.dir, store, against)
        except UsageError as error:
            raise pytest.UsageError(f"modbench: {error}") from error

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect comparisons, also those of workers of pytest-xdist."""
        if report.when == "teardown":
            self.rows += [json.loads(str(value)) for key, value in report.user_properties if key == "modbench"]

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the samples of this process; a session that was to be compared with others, and was with none, does not pass."""
        if session.exitstatus == pytest.ExitCode.OK and self._nothing_compared():
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED
        if self.store is not None and not self.store.write():
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR

    def _nothing_compared(self) -> bool:
        """Whether comparisons were to be compared with stored sessions, and none was."""
        changes = [row["change"] for row in self.rows if row["change"] is not None]
        return bool(changes) and all(change["verdict"] == "not compared" for change in changes)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show all comparisons."""
        notes = list(self.store.notes) if self.store is not None else []
        if self.config.getoption("modbench_store") and all(row["ratio"] is None for row in self.rows):
            notes.append("--modbench-store: nothing was timed, so nothing is kept")
        if self._nothing_compared():
            notes.append(
                "--modbench-against: nothing was compared with the store, so this session does not pass (exit code 5)"
            )
        if not self.rows and not notes:
            return
        from modbench.testing.result import summary

        terminalreporter.section("modbench: above 1 the candidate is faster; intervals hold for this process")
        for line in (*(summary(self.rows) if self.rows else ()), *notes):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def modbench_clock() -> Clock | None:
    """The clock that comparisons read: None is this machine's. A test of slow code may override it with a fake one."""
    return None


@pytest.fixture
def modbench_compare(request: pytest.FixtureRequest, modbench_clock: Clock | None) -> Comparer:
    """Compare two functions: `modbench_compare(baseline, candidate, margin=0.02)` fails if the second is shown to be slower."""
    from modbench.testing.comparer import Comparer, SessionSettings

    session = request.config.pluginmanager.get_plugin("modbench-session")
    assert isinstance(session, _Session)
    marker: dict[str, Any] = {}
    for mark in reversed(list(request.node.iter_markers("modbench"))):
        if mark.args:
            raise pytest.UsageError(
                "@pytest.mark.modbench takes keywords: margin=0.05, rounds=30, against_margin=0.05, threads=1."
            )
        marker |= mark.kwargs
    disabled = bool(request.config.getoption("modbench_disable"))
    settings = SessionSettings(session.ini, session.command_line, marker, disabled)
    return Comparer(request.node, settings, modbench_clock, session.store)
