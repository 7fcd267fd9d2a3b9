"""A pytest plug-in: a test that fails, or runs into pytest's time limit, leaves no process behind."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Generator

import pytest

from modbench.harness.execution.log_supervisor_process import marked


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """End what a failed test started: pytest names the test in the environment, which processes inherit."""
    report = yield
    if report.failed and call.when == "call":
        for process in marked(f"PYTEST_CURRENT_TEST={item.nodeid} (call)"):
            if process != os.getpid():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
    return report
