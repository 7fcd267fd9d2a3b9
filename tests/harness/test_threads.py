"""The threads of this process: set for a while, and named where they wait for a core."""

from __future__ import annotations

import contextlib
import os
import sys

import pytest
import torch

from modbench.harness.core.errors import UsageError
from modbench.harness.stats.contrast import Contrast, Estimates, Rule, Seen
from modbench.harness.stats.effects import Effect
from modbench.harness.timing.callable_contrasts import CORES, Beside, remedy
from modbench.harness.timing.threads import at_threads, crowded, working_threads


def test_threads_are_as_before_also_after_an_error() -> None:
    before = torch.get_num_threads()
    seen = list[int]()
    with contextlib.suppress(KeyError), at_threads(before + 1):
        seen += [working_threads(), torch.get_num_threads()]
        raise KeyError
    assert seen == [before + 1, before + 1]
    assert torch.get_num_threads() == before
    with at_threads(None):
        assert torch.get_num_threads() == before


def test_without_torch_there_is_one_thread_and_nothing_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    with at_threads(3):
        assert working_threads() == 1


@pytest.mark.parametrize("number", [0, -1, 1.0, True, "2"])
def test_what_is_no_number_of_threads_is_refused(number: int) -> None:
    with pytest.raises(UsageError, match=f"threads = {number!r}: "), at_threads(number):
        pass


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
