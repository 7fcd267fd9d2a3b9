"""The clocks cannot be moved by a model, and are held against others that it does not reach."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import torch
from test_faults import planned
from torch import nn

from modbench.commands.doctor import aa_comparisons
from modbench.harness.core.files import now
from modbench.harness.domain.case import Case
from modbench.harness.domain.notes import TimeNotes
from modbench.harness.domain.records import Record
from modbench.harness.execution import phase
from modbench.harness.execution.phase import ENDING_S, check_clock
from modbench.harness.process import clocks
from modbench.harness.registry import catalogue
from modbench.harness.registry.lookup import with_facts
from modbench.harness.results.outcomes import measured
from modbench.harness.results.sealed_records import read_record, write_record
from modbench.harness.subject import shared_state
from modbench.harness.subject.subject import Subject, clock_of


def test_a_clock_that_was_replaced_moves_no_number_and_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(time, "perf_counter", lambda: 0.0)
        patch.setattr(time, "thread_time", lambda: 0.0)
        place = planned_case(own=False).place
        assert clock_of(place).wall_s() > 0
        assert clock_of(place).cpu_s() > 0
        assert clocks.restored() == ["time.perf_counter", "time.thread_time"]
        assert time.perf_counter() > 0
    assert clocks.restored() == []


def test_a_call_that_replaces_a_clock_fails_its_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    with pytest.raises(RuntimeError, match=r"clock time\.monotonic"):
        shared_state.checked(torch.get_num_threads())


def test_a_slow_clock_disagrees_with_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "kernel_s", lambda: 10.0)
    assert re.search(r"\b5 s .*\b10 s", str(clocks.Span(lambda: 105.0, 100.0, 0.0).apart()))
    assert re.search(r"\b20 s .*\b10 s", str(clocks.Span(lambda: 120.0, 100.0, 0.0).apart()))
    assert clocks.Span(lambda: 110.2, 100.0, 0.0).apart() is None
    monkeypatch.setattr(clocks, "kernel_s", lambda: 0.0)  # a system without such ticks
    assert clocks.Span(lambda: 105.0, 100.0, 0.0).apart() is None


def test_a_span_of_this_machines_clocks_agrees() -> None:
    span = clocks.Span.begin()
    until = clocks.perf_counter() + 0.05
    while clocks.perf_counter() < until:
        pass
    assert span.apart() is None


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.py").write_text("def build(config): ...\n")
    (tmp_path / "text.txt").write_text("abc " * 500)
    return tmp_path


@pytest.mark.parametrize(
    ("wall_s", "now_s", "changed"),
    [(10.0, 1e6, False), (8.5, 1e6, False), (5.0, 1e6, True), (20.0, 1e6, True), (5.0, 1005.0, False)],
)
def test_the_parents_clock_is_the_second_source(
    wall_s: float, now_s: float, changed: bool, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unit says how long it took by its own clock; its parent saw it end 10 seconds after it began.

    In the last case its record was complete after 5, and the process took as long to end.
    """
    monkeypatch.setattr(phase, "monotonic", lambda: now_s)
    made = planned("build", ["latency/forward"])
    (unit,) = [unit for unit in made.units if unit.made_in == "time"]
    metric = catalogue.metrics()["latency/forward"]
    outcomes = tuple(measured(case, metric, {"wall_s": [1.0]}, TimeNotes()) for case in unit.comparison.arms)
    record = Record(unit=unit, started=now(), wall_s=wall_s, began_s=1000.0, outcomes=outcomes)
    file = here / "unit.json"
    write_record(file, record)
    check_clock(file, unit, 1010.0)
    dense, bad = read_record(file, unit).outcomes
    assert dense.noted(TimeNotes).clock_changed is None
    assert (bad.noted(TimeNotes).clock_changed is not None) is changed
    assert ENDING_S < 5


def planned_case(*, own: bool) -> Case:
    case = aa_comparisons.units(1, "cpu", 1)[0].comparison.arms[0]
    return with_facts(case.model_copy(update={"model": "mine.py:build"})) if own else case


class Learns(nn.Module):
    """Changes its capacity in every call in training mode, as the package `mixture-of-depth` does."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(vocabulary, 8), nn.Linear(8, vocabulary)
        self.frozen = nn.Dropout().eval()
        self.calls_in_training = 0

    def forward(self, tokens_BT: torch.Tensor) -> torch.Tensor:
        self.calls_in_training += self.training
        logits_BTV: torch.Tensor = self.head(self.frozen(self.embedding(tokens_BT)))
        return logits_BTV


def test_the_contract_check_never_calls_a_model_in_training_mode() -> None:
    case = planned_case(own=True)
    subject = Subject(case, 0, module=Learns(case.config.vocab_size))
    assert subject.module.training
    subject.check(subject.inputs(0, 1)[0])
    assert subject.module.calls_in_training == 0
    assert subject.module.training
    assert not subject.module.frozen.training  # type: ignore[union-attr]
