"""The fixtures of tests/harness/shared_fixtures.py, for tests of the core and of plug-ins.

Not for benchmarks in suites/micro that run from elsewhere, with a user's own pytest.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    """Register them, and let tests of plug-ins import their own helpers."""
    if config.rootpath == ROOT:
        sys.path += [str(folder) for folder in sorted(ROOT.glob("plugins/*/tests"))]
        config.pluginmanager.import_plugin("shared_fixtures")
