"""The storage tracker against arithmetic and against torch's own tracker."""

from __future__ import annotations

import pytest
import torch
from cases import case_of
from torch import nn
from torch.distributed._tools.mem_tracker import MemTracker

from modbench.harness.call.step_peak_memory import StorageTracker, of_training
from modbench.harness.call.subject.subject import Subject
from modbench.harness.domain.case import Case
from modbench.harness.registry import catalogue


def case(model: str = "dense") -> Case:
    options = dict(catalogue.model_options(model))
    return case_of(model, {"d_model": 64, "n_layers": 2, "max_seq_len": 64, **options}, seq_len=64)


def test_live_and_peak_bytes_by_hand() -> None:
    with StorageTracker() as tracker:
        a = torch.zeros(1000)
        assert tracker.live == 4000
        b = a + 1
        view = b[:10]  # a view owns nothing
        assert tracker.live == 8000
        del b
        assert tracker.live == 8000
        del view
        assert tracker.live == 4000
        del a
        assert tracker.live == 0
    assert tracker.peak == 8000


def test_watched_tensors_count_once() -> None:
    weight = nn.Parameter(torch.zeros(100))
    tracker = StorageTracker()
    tracker.watch([weight, weight, weight.view(10, 10), None])
    assert tracker.live == 400


@pytest.mark.parametrize("model", ["dense", "mod", "moe"])
def test_peak_of_a_train_step_equals_torchs_tracker(model: str) -> None:
    """MemTracker of torch.distributed, an independent implementation, to the byte."""
    ours = of_training(Subject(case(model), 0)).peak
    theirs = Subject(case(model), 0)
    tokens_BT = theirs.inputs(0, 1)[0]
    theirs.train_step(tokens_BT)
    theirs.optimizer.zero_grad(set_to_none=True)
    tracker = MemTracker()
    tracker.track_external(theirs.module, theirs.optimizer, tokens_BT)
    with tracker:
        theirs.train_step(tokens_BT)
    assert ours == sum(snapshot["Total"] for snapshot in tracker.get_tracker_snapshot("peak").values())
