"""The clocks are bound before a user's code is loaded, spans are added up once; models are checked in evaluation mode."""

from __future__ import annotations

import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from modbench.commands.doctor import aa_comparisons
from modbench.harness.call.subject.subject import Subject, clock_of
from modbench.harness.domain.case import Case
from modbench.harness.machine.process.clocks import union_s
from modbench.harness.registry.case_facts import with_facts

MOMENTS = st.integers(0, 60)
SPANS = st.lists(st.tuples(MOMENTS, MOMENTS).map(lambda ends: (float(min(ends)), float(max(ends)))), max_size=12)


@given(spans=SPANS)
def test_seconds_covered_by_two_are_counted_once(spans: list[tuple[float, float]]) -> None:
    covered = {second for low, high in spans for second in range(int(low), int(high))}
    assert union_s(spans) == len(covered)


@pytest.fixture
def case() -> Case:
    return aa_comparisons.jobs(1, "cpu", 1)[0].comparison.variants[0]


def test_a_clock_that_a_test_froze_moves_no_number(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)
    monkeypatch.setattr(time, "thread_time", lambda: 0.0)
    clock = clock_of(case.grid_point)
    assert clock.wall_s() > 0
    assert clock.cpu_s() > 0


def test_cpu_time_is_the_threads_and_beside_a_gpu_the_processs(case: Case) -> None:
    on_card = clock_of(case.grid_point.model_copy(update={"device": "cuda"}))
    assert (clock_of(case.grid_point).cpu_s, on_card.cpu_s) == (time.thread_time, time.process_time)
    assert on_card.synchronize is torch.cuda.synchronize


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


def test_the_contract_check_never_calls_a_model_in_training_mode(case: Case) -> None:
    mine = with_facts(case.model_copy(update={"model": "mine.py:build"}))
    subject = Subject(mine, 0, module=Learns(mine.config.vocab_size))
    assert subject.module.training
    subject.check(subject.inputs(0, 1)[0])
    assert subject.module.calls_in_training == 0
    assert subject.module.training
    assert not subject.module.frozen.training  # type: ignore[union-attr]
