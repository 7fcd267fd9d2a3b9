"""Notes of training."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import Field, model_validator

from modbench.harness.core.contracts import SOLVED
from modbench.harness.core.frozen import Frozen
from modbench.harness.domain.notes import Notes
from modbench.harness.domain.notes.causality import Causality

Columns = TypeVar("Columns", bound=Frozen)


def equally_long(columns: Columns) -> Columns:
    """Require columns of one length."""
    if len({len(values) for _, values in columns}) > 1:
        raise ValueError("its columns are not equally long")
    return columns


class Curve(Frozen):
    """A training run, step by step.

    Attributes:
        step: number of the step, from 0.
        tokens: tokens seen after the step.
        loss: loss of the step's batch before its update, in nats per token; None if it was not read.
        wall_s: seconds of training after the step; on a GPU when the device had finished it.
    """

    step: list[int]
    tokens: list[int]
    loss: list[float | None]
    wall_s: list[float]

    _equally_long = model_validator(mode="after")(equally_long)


class Looks(Frozen):
    """Held-out losses during training.

    Attributes:
        step: steps made before the evaluation.
        loss: in nats per token, on a few windows.
    """

    step: list[int]
    loss: list[float]

    _equally_long = model_validator(mode="after")(equally_long)


class TaskAnswers(Frozen):
    """Results on a task (`harness/training/task_eval.py`).

    Attributes:
        n: questions that were scored, one per sequence.
        correct: correct answers to these.
        correct_as_trained: the same, routed as in training; None if the routing is the same.
        whole: sequences with every question answered correctly.
        by_kind: kind of question to (n, correct).
        shortcuts: accuracy of rules that do not solve the task, on the same questions.
        depth_by_kind: mean number of blocks that sequences of a kind ran, where a gate chose.
        cpu_s: CPU time of the training, in s.
        solved: share of the way from the best shortcut to every answer right from which the task counts as solved.
    """

    n: int = Field(ge=1)
    correct: int
    correct_as_trained: int | None
    whole: int
    by_kind: dict[str, tuple[int, int]]
    shortcuts: dict[str, Annotated[float, Field(ge=0, le=1)]]
    depth_by_kind: dict[str, float] = Field(default_factory=dict)
    cpu_s: float = 0.0
    solved: float = SOLVED

    @model_validator(mode="after")
    def _of_the_questions(self) -> TaskAnswers:
        right = (self.correct, self.whole, self.correct if self.correct_as_trained is None else self.correct_as_trained)
        for n, correct in (*((self.n, each) for each in right), *self.by_kind.values()):
            if not 0 <= correct <= n:
                raise ValueError(f"{correct} of {n} questions")
        return self


class TrainNotes(Notes):
    """How a model was trained. Only the first metric of a run carries the long fields.

    Attributes:
        seed: seed of weights and data.
        corpus: name or path of the corpus; None for a task.
        corpus_sha256: its hash.
        tokenizer: what its tokens are; None for a task, and before this was recorded.
        sees_future: whether the model read later tokens when the loss was measured.
        causality: whether logits depend on later tokens after training.
        lr: learning rate.
        steps: number of steps.
        curve: the training run.
        looks: held-out losses during training.
        by_position: held-out loss at each position in the window.
        by_block: held-out loss, without the future, of each of up to 64 stretches of the held-out text, in order: what the choice
            of text adds to the error of a difference. Of fresh runs only; None before schema 11.
        spent: seconds of forward, backward, optimizer, and outside of all three; on a GPU between CUDA events, not of launching.
        resumed_at: steps that were made before the run was last resumed.
        routing: what the routers did, in numbers (`harness/routing/describe.py`).
        answers: results on a task; None for a corpus.
    """

    seed: int
    corpus: str | None = None
    corpus_sha256: str | None = None
    tokenizer: str | None = None
    sees_future: bool | None = None
    causality: Causality | None = None
    lr: float | None = None
    steps: int | None = None
    curve: Curve | None = None
    looks: Looks | None = None
    by_position: list[float] | None = None
    by_block: list[float] | None = None
    spent: dict[str, float] = Field(default_factory=dict)
    resumed_at: int = 0
    routing: dict[str, float | str | None] | None = None
    answers: TaskAnswers | None = None


class RatesNotes(Notes):
    """Learning rates that were tried.

    Attributes:
        seed: seed of the runs.
        rule: the width rule's rate.
        rates: multiples of it, ascending.
        losses: held-out loss of each; None if training diverged.
        at_edge: whether the best one is the lowest or the highest that was tried.
    """

    seed: int
    rule: float
    rates: list[float]
    losses: list[float | None]
    at_edge: bool
