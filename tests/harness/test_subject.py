"""The model under test: where its weights are drawn, which rows are checked, what is never compiled, its bytes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cases import case_of
from torch import nn
from torch.distributed._tools.mem_tracker import MemTracker

from modbench.harness.call.step_peak_memory import StorageTracker, of_training
from modbench.harness.call.subject.generation import Generation
from modbench.harness.call.subject.subject import Subject
from modbench.harness.domain.case import Case
from modbench.harness.registry import catalogue

# Its build draws from a CPU generator of its own.


def case(model: str = "mod", **changes: Any) -> Case:
    options = {} if ":" in model else dict(catalogue.model_options(model))
    return case_of(model, {"d_model": 32, "n_layers": 2, "n_heads": 2, "max_seq_len": 16, **options, **changes})


@pytest.mark.parametrize("call", ["prefill", "first_token"])
def test_a_prompt_as_long_as_the_model_is_read(call: str) -> None:
    """There is no room for steps after it, and none is needed: decoding still asks for it."""
    made = Subject(case("dense"), 0)
    (tokens_BT,) = made.inputs(0, 1)
    getattr(Generation(made), call)()(tokens_BT)
    with pytest.raises(ValueError, match="more than max_seq_len 16"):
        Generation(made).decode()


# --- its bytes


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
        weight = nn.Parameter(torch.zeros(100))
    assert tracker.peak == 8000
    watching = StorageTracker()
    watching.watch([weight, weight, weight.view(10, 10), None])
    assert watching.live == 400  # each counts once


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
