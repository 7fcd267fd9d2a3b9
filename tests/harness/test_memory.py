"""The storage tracker against arithmetic and against torch's own tracker."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.distributed._tools.mem_tracker import MemTracker

from modbench.harness import catalogue
from modbench.harness.case import Case, Place
from modbench.harness.config import ModelConfig
from modbench.harness.errors import Unmeasured
from modbench.harness.storage import StorageTracker
from modbench.harness.subject import Subject

METRIC = catalogue.metrics()["memory/peak_allocated"]


def subject(model: str = "dense", *, compiled: bool = False) -> Subject:
    options = dict(catalogue.model_options(model))
    config = ModelConfig.model_validate({"d_model": 64, "n_layers": 2, "max_seq_len": 64, **options})
    place = Place(seq_len=64, batch_size=2, dtype="fp32", device="cpu", threads=1, compile=compiled)
    return Subject(Case(model=model, arm_parts=(), config=config, place=place), 0)


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
    ours = METRIC.measure(subject(model))
    theirs = subject(model)
    tokens_BT = theirs.inputs(0, 1)[0]
    theirs.train_step(tokens_BT)
    theirs.optimizer.zero_grad(set_to_none=True)
    tracker = MemTracker()
    tracker.track_external(theirs.module, theirs.optimizer, tokens_BT)
    with tracker:
        theirs.train_step(tokens_BT)
    peak = sum(snapshot["Total"] for snapshot in tracker.get_tracker_snapshot("peak").values())
    assert ours == peak


def test_a_compiled_model_is_null_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda module: module)
    with pytest.raises(Unmeasured, match="runs eagerly under the storage tracker"):
        METRIC.measure(subject(compiled=True))
