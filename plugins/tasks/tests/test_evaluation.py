"""Answers to a task's questions: planted models that know, guess or look ahead, and what is counted of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from cases import case_of, protocol_of
from present import present
from torch import Tensor, nn

from modbench.harness.call.subject.subject import Subject
from modbench.harness.core.contracts import UNASKED, Examples, Source, Task
from modbench.harness.core.errors import Unmeasured
from modbench.harness.core.train_plan import TrainRun
from modbench.harness.domain.case import Case
from modbench.harness.registry import catalogue
from modbench.plugins.tasks.evaluation import answer, batch_of, one_question_each, rows_of
from modbench.plugins.tasks.measurement import train_on_task
from modbench.plugins.tasks.notes import TaskNotes
from modbench.plugins.tasks.table import condition_of

# Tokens: 0 pads, 1 asks, 2 to 5 are answers. The answer to a question is the token before the asking one, plus one, in a circle.
WORDS = ("pad", "?", "a", "b", "c", "d")


def draw(rng: np.random.Generator, n: int) -> Examples:
    """Three questions of a row: x ? y x ? y …; kind 0 where x is a or b, kind 1 elsewhere."""
    asked_N3 = rng.integers(2, 6, (n, 3))
    answers_N3 = 2 + (asked_N3 - 1) % 4
    tokens_NT = np.zeros((n, 10), dtype=np.int64)
    answers_NT, kinds_NT = np.full((n, 10), UNASKED, dtype=np.int64), np.zeros((n, 10), dtype=np.int64)
    tokens_NT[:, 0:9:3], tokens_NT[:, 1:9:3], tokens_NT[:, 2:9:3] = asked_N3, 1, answers_N3
    answers_NT[:, 1:9:3], kinds_NT[:, 1:9:3] = answers_N3, asked_N3 > 3
    return Examples(tokens_NT, answers_NT, kinds_NT, np.full(n, 9))


SOURCE = Source(WORDS, 10, (2, 3, 4, 5), ("early", "late"), draw, draw(np.random.default_rng(7), 200))
TASK = Task(open=lambda _: SOURCE, shortcuts=lambda train, _: {"majority": 0.25, "half": len(train.lengths_N) / 40_000})


class Knows(nn.Module):
    """Answers right at questions about `only` (all, if None), and elsewhere 'a'. Its favourite of all tokens is no candidate."""

    has_auxiliary = False

    def __init__(self, only: int | None = None, *, by_top_k: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.only, self.by_top_k, self.realised = only, by_top_k, list[int]()

    def forward(self, tokens_BT: Tensor, *, causal: bool = False, **_: Any) -> Tensor:
        before_BT = tokens_BT.roll(1, 1)
        knows_BT = torch.full_like(tokens_BT, fill_value=not (self.by_top_k and causal), dtype=torch.bool)
        if self.only is not None:
            knows_BT &= (before_BT > 3) == bool(self.only)
        logits = nn.functional.one_hot(torch.where(knows_BT, 2 + (before_BT - 1) % 4, 2), 6).float()
        logits[..., 1] = 9.0
        self.realised = [3 if row[0] > 3 else 1 for row in tokens_BT.tolist()]
        return logits + self.weight

    def set_progress(self, done: float) -> None: ...
    def calibrate(self, tokens_BT: Tensor, lengths_B: Tensor | None = None) -> None: ...


def case(model: str = "dense", **changes: Any) -> Case:
    options = {"d_model": 32, "n_layers": 4, "vocab_size": 6, "max_seq_len": 10, **catalogue.model_options(model)}
    return case_of(model, options | changes, conditions=condition_of("planted"), seq_len=10, batch_size=16)


def answered(module: nn.Module, model: str = "dense") -> TaskNotes:
    return answer(Subject(case(model), 0, module=module), SOURCE, 16)


def drilled(it: Case, steps: int = 1, sha256: str = "") -> TaskNotes:
    """What training on the task leaves."""
    run = TrainRun(seq_len=10, batch_size=16, steps=steps, lr=1e-2)
    return train_on_task(it, protocol_of(train=run, corpus_sha256=sha256))


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The task above, by the name `planted`."""
    load = catalogue.load
    monkeypatch.setattr(catalogue, "load", lambda room, name: TASK if name == "planted" else load(room, name))


def test_who_knows_everything_is_always_right() -> None:
    found = answered(Knows())
    assert (found.n, found.correct, found.whole, found.accuracy) == (200, 200, 200, 1.0)
    assert found.correct_as_trained is None  # a dense model has one way to route
    assert sum(asked for asked, _ in found.by_kind.values()) == 200
    assert found.shortcuts == {"majority": 0.25, "half": 0.5}
    # Depths are those of the rows whose question of a kind was scored.
    scored = one_question_each(SOURCE.held_out)
    kinds_N = scored.kinds_NT[scored.answers_NT != UNASKED]
    depths_N = np.where(SOURCE.held_out.tokens_NT[:, 0] > 3, 3, 1)
    for i, kind in enumerate(SOURCE.kinds):
        assert found.depth_by_kind[kind] == pytest.approx(depths_N[kinds_N == i].mean())


@pytest.mark.parametrize(("knows", "other", "least", "most"), [(1, 0, 0, 0), (0, 1, 0.3, 0.7)])
def test_who_knows_one_kind_shows_it(knows: int, other: int, least: float, most: float) -> None:
    """Elsewhere it says 'a', which is the right answer to 'd' alone: half of the late kind, none of the early one."""
    found = answered(Knows(knows))
    asked, right = found.by_kind[SOURCE.kinds[knows]]
    assert asked == right
    asked, right = found.by_kind[SOURCE.kinds[other]]
    assert least <= right / asked <= most
    assert found.whole < found.correct


def test_a_router_answers_without_the_future() -> None:
    found = answered(Knows(by_top_k=True), "mod")
    assert found.correct_as_trained == 200
    assert found.correct < 100


def test_one_question_of_every_sequence_is_scored_the_same_each_time() -> None:
    one, again = one_question_each(SOURCE.held_out), one_question_each(SOURCE.held_out)
    assert ((one.answers_NT != UNASKED).sum(1) == 1).all()
    assert (one.answers_NT == again.answers_NT).all()
    places = np.bincount(np.nonzero(one.answers_NT != UNASKED)[1])
    assert places.sum() == places[[1, 4, 7]].sum()
    assert min(places[[1, 4, 7]]) > 40  # any of the three as likely
    batch = batch_of(rows_of(SOURCE.held_out, slice(16)))
    assert (batch.number_of_targets, present(batch.prompt_B).tolist()) == (48, [2] * 16)


@pytest.mark.slow
def test_a_model_that_skips_is_drilled() -> None:
    """And learns this task, which a table of six tokens solves."""
    found = drilled(case("mod", n_layers=2, capacity=0.5), steps=60)
    assert found.n == 200
    assert found.accuracy > 0.6
    assert found.cpu_s > 0


def test_what_cannot_be_drilled_is_refused() -> None:
    with pytest.raises(Unmeasured, match="no next token"):
        drilled(case(bidirectional=True))
    with pytest.raises(ValueError, match="changed since the plan"):
        drilled(case(), sha256="other")
