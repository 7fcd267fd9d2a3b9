"""The threads of this process, set for a while."""

from __future__ import annotations

import contextlib
import sys

import pytest
import torch

from modbench.harness.core.errors import UsageError
from modbench.plugins.python.threads import at_threads, working_threads


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
