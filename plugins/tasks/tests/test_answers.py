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
from modbench.plugins.tasks.evaluation import answer, batch_of, one_question_each, pieces
from modbench.plugins.tasks.measurement import train_on_task
from modbench.plugins.tasks.table import condition_of

# Tokens: 0 pads, 1 asks, 2 to 5 are answers. The answer to a question is the token before the asking one, plus one, in a circle.
WORDS = ("pad", "?", "a", "b", "c", "d")


def draw(rng: np.random.Generator, n: int) -> Examples:
    """Three questions of a row: x ? y x ? y …; kind 0 where x is a or b, kind 1 elsewhere."""
    asked_N3 = rng.integers(2, 6, (n, 3))
    answers_N3 = 2 + (asked_N3 - 1) % 4
    tokens_NT = np.zeros((n, 10), dtype=np.int64)
    answers_NT, kinds_NT = np.full((n, 10), UNASKED, dtype=np.int64), np.zeros((n, 10), dtype=np.int64)
    for i in range(3):
        tokens_NT[:, 3 * i], tokens_NT[:, 3 * i + 1], tokens_NT[:, 3 * i + 2] = asked_N3[:, i], 1, answers_N3[:, i]
        answers_NT[:, 3 * i + 1], kinds_NT[:, 3 * i + 1] = answers_N3[:, i], asked_N3[:, i] > 3
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
        right_BT = 2 + (before_BT - 1) % 4
        knows_BT = (
            (before_BT > 3) == bool(self.only)
            if self.only is not None
            else torch.ones_like(tokens_BT, dtype=torch.bool)
        )
        if self.by_top_k and causal:
            knows_BT = torch.zeros_like(knows_BT)
        logits = nn.functional.one_hot(torch.where(knows_BT, right_BT, 2), 6).float()
        logits[..., 1] = 9.0
        self.realised = [3 if row[0] > 3 else 1 for row in tokens_BT.tolist()]
        return logits + self.weight

    def set_progress(self, done: float) -> None: ...
    def calibrate(self, tokens_BT: Tensor, lengths_B: Tensor | None = None) -> None: ...


def case(model: str = "dense", **changes: Any) -> Case:
    options = {"d_model": 32, "n_layers": 4, "vocab_size": 6, "max_seq_len": 10, **catalogue.model_options(model)}
    return case_of(model, options | changes, conditions=condition_of("planted"), seq_len=10, batch_size=16)


def subject(module: nn.Module, model: str = "dense") -> Subject:
    return Subject(case(model), 0, module=module)


def drilled(it: Case, steps: int = 1, sha256: str = "") -> Any:
    """What training on the task leaves."""
    run = TrainRun(seq_len=10, batch_size=16, steps=steps, lr=1e-2)
    return train_on_task(it, protocol_of(train=run, corpus_sha256=sha256))


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The task above, by the name `planted`."""
    load = catalogue.load
    monkeypatch.setattr(catalogue, "load", lambda room, name: TASK if name == "planted" else load(room, name))


def test_who_knows_everything_is_always_right() -> None:
    found = answer(subject(Knows()), SOURCE, 16)
    assert (found.n, found.correct, found.whole, found.accuracy) == (200, 200, 200, 1.0)
    assert found.correct_as_trained is None  # a dense model has one way to route
    assert sum(asked for asked, _ in found.by_kind.values()) == 200
    assert found.shortcuts == {"majority": 0.25, "half": 0.5}


@pytest.mark.parametrize("kind", [0, 1])
def test_who_knows_one_kind_shows_it(kind: int) -> None:
    found = answer(subject(Knows(kind)), SOURCE, 16)
    name = SOURCE.kinds[kind]
    other = SOURCE.kinds[1 - kind]
    asked, right = found.by_kind[name]
    assert asked == right
    # Elsewhere it says 'a', which is the right answer to 'd' alone: half of the late kind, none of the early one.
    asked, right = found.by_kind[other]
    assert right == 0 if other == "early" else 0.3 < right / asked < 0.7
    assert found.whole < found.correct


def test_a_router_answers_without_the_future() -> None:
    found = answer(subject(Knows(by_top_k=True), "mod"), SOURCE, 16)
    assert found.correct_as_trained == 200
    assert found.correct < 100


def test_depth_by_kind_is_that_of_the_rows() -> None:
    found = answer(subject(Knows()), SOURCE, 16)
    rows = one_question_each(SOURCE.held_out)
    asked_NT = rows.answers_NT != UNASKED
    depth_N = np.where(SOURCE.held_out.tokens_NT[:, 0] > 3, 3, 1)
    for i, kind in enumerate(SOURCE.kinds):
        assert found.depth_by_kind[kind] == pytest.approx(depth_N[rows.kinds_NT[asked_NT] == i].mean())


def test_one_question_of_every_sequence_is_scored_the_same_each_time() -> None:
    one, again = one_question_each(SOURCE.held_out), one_question_each(SOURCE.held_out)
    assert ((one.answers_NT != UNASKED).sum(1) == 1).all()
    assert (one.answers_NT == again.answers_NT).all()
    grid_points = np.nonzero(one.answers_NT != UNASKED)[1]
    assert set(grid_points) == {1, 4, 7}
    assert min(np.bincount(grid_points)[[1, 4, 7]]) > 40  # any of the three as likely


def test_pieces_are_the_whole() -> None:
    parts = list(pieces(SOURCE.held_out, 16))
    assert (np.concatenate([part.tokens_NT for part in parts]) == SOURCE.held_out.tokens_NT).all()
    batch = batch_of(parts[0])
    assert batch.number_of_targets == 48
    assert present(batch.prompt_B).tolist() == [2] * 16


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        pytest.param(model, marks=() if model == "mod" else pytest.mark.proof)
        for model in sorted(catalogue.entries("models"))  # test_training.py trains them all
    ],
)
def test_every_model_is_drilled(model: str) -> None:
    """And learns this one, which a table of six tokens solves, with tokens that skip too."""
    capacity = {"capacity": 0.5} if "capacity" in catalogue.model_options(model) else {}
    found = drilled(case(model, n_layers=4 if model == "depth_branches" else 2, **capacity), steps=60)
    assert found.n == 200
    assert found.accuracy > 0.6
    assert found.cpu_s > 0


def test_a_bidirectional_model_has_no_next_token() -> None:
    with pytest.raises(Unmeasured, match="no next token"):
        drilled(case(bidirectional=True))


def test_files_that_changed_since_the_plan_are_refused() -> None:
    with pytest.raises(ValueError, match="changed since the plan"):
        drilled(case(), sha256="other")
