"""Tests that need a card: skipped with the reason where torch sees none. In a rehearsal a pretend card stands in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
PRETEND = bool(os.environ.get("MODBENCH_PRETEND_CARD"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark this folder's tests. What torch and the compilers warn of on a new card must not hide what the tests say."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.cuda)
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture(autouse=True)
def _card() -> None:
    if not torch.cuda.is_available():
        pytest.skip(f"torch {torch.__version__} sees no CUDA device")


@pytest.fixture
def real_card() -> None:
    """For tests of what only silicon does: time, memory, clocks."""
    if PRETEND:
        pytest.skip("a pretend card has no memory, no clock and no queue")
