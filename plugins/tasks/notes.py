"""What a run on a task leaves besides its accuracy."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from modbench.extend import SOLVED, Notes


class TaskNotes(Notes):
    """A model's results on a task.

    Attributes:
        seed: seed of weights and data.
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

    seed: int
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
    def _of_the_questions(self) -> TaskNotes:
        right = (self.correct, self.whole, self.correct if self.correct_as_trained is None else self.correct_as_trained)
        for n, correct in (*((self.n, each) for each in right), *self.by_kind.values()):
            if not 0 <= correct <= n:
                raise ValueError(f"{correct} of {n} questions")
        return self

    @property
    def accuracy(self) -> float:
        """Share of questions answered correctly."""
        return self.correct / self.n
