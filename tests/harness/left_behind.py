"""A pytest plug-in: a test that fails, or runs into pytest's time limit, leaves no process behind."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator

import psutil
import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """End what a failed test started: pytest names the test in the environment, which processes inherit."""
    report = yield
    if report.failed and call.when == "call":
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                named = process.environ().get("PYTEST_CURRENT_TEST") == f"{item.nodeid} (call)"
                if named and process.pid != os.getpid():
                    process.kill()
    return report
