"""Fixtures of tests whose GPU is a fake."""

from __future__ import annotations

import sys

import pytest
from fake_cuda import FakeCuda
from fake_nvml import fake_pynvml


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """A device and its driver, installed for a test."""
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml())
    return FakeCuda().install(monkeypatch)
