"""The fixtures of tests/harness/shared_fixtures.py, for tests of the core and of plug-ins.

Not for benchmarks in suites/micro that run from elsewhere, with a user's own pytest.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent

# As tox does: tests that time or count calls expect one thread, and torch reads this once, when it is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Tests of plug-ins import their own helpers; so do their conftests, which are read before `pytest_configure`.
sys.path += [str(folder) for folder in sorted(ROOT.glob("plugins/*/tests"))]


def pytest_configure(config: pytest.Config) -> None:
    """Register them."""
    if config.rootpath == ROOT:
        config.pluginmanager.import_plugin("shared_fixtures")
