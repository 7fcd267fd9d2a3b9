"""The model under test: where its weights are drawn, which rows are checked, what is never compiled, its bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from cases import case_of
from torch import Tensor, nn
from torch.distributed._tools.mem_tracker import MemTracker

from modbench.harness.call.step_peak_memory import StorageTracker, of_training
from modbench.harness.call.subject import subject as room
from modbench.harness.call.subject.build import build_module
from modbench.harness.call.subject.generation import Generation
from modbench.harness.call.subject.subject import Subject
from modbench.harness.domain.case import Case
from modbench.harness.registry import catalogue

# Its build draws from a CPU generator of its own.
OWN = """
import torch
def build(config):
    layer = torch.nn.Linear(4, 4)
    layer.drawn = torch.randn(4, generator=torch.Generator())
    return layer
"""


def case(model: str = "mod", **changes: Any) -> Case:
    options = {} if ":" in model else dict(catalogue.model_options(model))
    return case_of(model, {"d_model": 32, "n_layers": 2, "n_heads": 2, "max_seq_len": 16, **options, **changes})


def test_weights_are_drawn_where_they_will_be_used(tmp_path: Path) -> None:
    """On a card one CPU thread would take longer than the measurement; a user's build is left where it is."""
    (tmp_path / "mine.py").write_text(OWN)
    own = case(f"{tmp_path / 'mine.py'}:build")
    for made, device, drawn in ((case(), "meta", "meta"), (case(), "cpu", "cpu"), (own, "meta", "cpu")):
        assert {weight.device.type for weight in build_module(made, 0, device).parameters()} == {drawn}


def test_a_contract_is_checked_on_a_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The logits of 128 long rows would not fit beside the models; one row is always checked."""
    made, seen = Subject(case(), 0), []

    class Noting(nn.Module):
        def forward(self, tokens_BT: Tensor) -> Tensor:
            seen.append(tuple(tokens_BT.shape))
            return torch.zeros(*tokens_BT.shape, made.case.config.vocab_size)

    made.module = Noting()
    monkeypatch.setattr(room, "CHECKED_TOKENS", 40)
    for rows, length in ((2, 16), (5, 16), (3, 64)):
        made.check(torch.zeros(rows, length, dtype=torch.int64))
    assert seen == [(2, 16), (2, 16), (1, 64)]


def test_causal_routing_is_never_compiled() -> None:
    """How many tokens pass depends on them: compiled, every number would be compiled anew."""
    made, called = Subject(case(), 0), []
    module = made.module.eval()

    def compiled(*args: Any, **kwargs: Any) -> Any:
        called.append(kwargs)
        return module(*args, **kwargs)

    made.model = cast("nn.Module", compiled)
    tokens_BT = made.inputs(0, 1)[0]
    with torch.no_grad():
        made.logits(tokens_BT, causal=True)
        assert called == []
        made.logits(tokens_BT)
    assert called == [{}]


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
