"""What would help where noise left something open: fewer threads, where they wait for a core."""

from __future__ import annotations

import os

import pytest

from modbench.harness.stats.contrast import Contrast, Estimates, Rule, Seen
from modbench.harness.stats.effects import Effect
from modbench.plugins.python.callable_contrasts import CORES, Beside, remedy
from modbench.plugins.python.threads import at_threads, crowded


def test_the_remedy_is_named_where_threads_wait_for_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1}, raising=False)
    causes = ("torch compiled again", CORES)
    with at_threads(2):
        assert crowded() == "2 threads on 2 cores, busy"
        assert remedy(causes, "cpu", "start it") == f"{crowded()}: start it with OMP_NUM_THREADS=1"
        assert remedy(causes, "cuda:0") is None
        assert remedy(causes[:1], "cpu") is None
    with at_threads(1):
        assert remedy(causes, "cpu") is None


def test_what_noise_alone_left_open_needs_no_remedy() -> None:
    asked = {
        ("better_open", 0.9): True,
        ("worse_open", 0.9): True,
        ("inconclusive", 0.9): True,
        ("inconclusive", 0.1): False,
        ("worse", 0.9): False,
    }
    for (verdict, share), doubtful in asked.items():
        found = Contrast("within", Rule(), Seen(noisy=share), Estimates(Effect(0.0)))
        assert Beside(found, verdict, None, ()).doubtful is doubtful
