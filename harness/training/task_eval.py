"""Score a trained model on a task: the likeliest candidate at each question, compared with the answer.

One question of every held-out sequence is scored, drawn from a fixed seed: answers of one sequence are not independent, so
only then is their number a binomial's n. A model with a causal router answers without the future, as in use.

Shapes: N sequences, B batch, T tokens, C candidates.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from modbench.harness.core.contracts import SOLVED, UNASKED, Examples, Source, Task
from modbench.harness.registry import catalogue
from modbench.harness.training.batches import batch_of, pieces
from modbench.harness.training.held_out import autocast_of, calibrate, set_progress, why_not_causal

if TYPE_CHECKING:
    from modbench.harness.call.subject.subject import Subject

SEED = 20_240_402
# Training sequences that shortcuts may learn from.
SHORTCUT_EXAMPLES = 20_000


@dataclass(frozen=True)
class Answered:
    """A model's results on a task.

    Attributes:
        n: questions that were scored, one of each sequence.
        correct: correct answers to these.
        correct_as_trained: the same, routed as while training; None if that makes no difference.
        whole: sequences with every question answered correctly.
        by_kind: kind of question to (n, correct).
        shortcuts: accuracy of rules that do not solve the task, on the same questions; one is `majority`.
        depth_by_kind: blocks that sequences of a kind ran on average, where a gate chose.
        curve: training loss, as in `Trainer.curve`.
        cpu_s: CPU time of the training, in s.
        solved: what the task counts as solved (`Task.solved`).
    """

    n: int
    correct: int
    correct_as_trained: int | None
    whole: int
    by_kind: dict[str, tuple[int, int]]
    shortcuts: dict[str, float]
    depth_by_kind: dict[str, float] = field(default_factory=dict)
    curve: dict[str, list[float]] = field(default_factory=dict)
    cpu_s: float = 0.0
    solved: float = SOLVED

    @property
    def accuracy(self) -> float:
        """Share of questions answered correctly."""
        return self.correct / self.n


def one_question_each(examples: Examples) -> Examples:
    """Keep one question of each sequence, drawn from a fixed seed."""
    asked_NT = examples.answers_NT != UNASKED
    lot_NT = np.random.default_rng(SEED).random(asked_NT.shape) * asked_NT
    kept_NT = np.zeros_like(asked_NT)
    kept_NT[np.arange(len(asked_NT)), lot_NT.argmax(1)] = True
    return Examples(
        examples.tokens_NT,
        np.where(kept_NT & asked_NT, examples.answers_NT, UNASKED),
        examples.kinds_NT,
        examples.lengths_N,
    )


def answer(subject: Subject, source: Source, batch_size: int) -> Answered:
    """Test a trained model on the held-out questions."""
    case = subject.case
    subject.module.eval()
    set_progress(subject, 1.0)
    routes = case.is_user_model or case.facts.routes
    causal = routes and not why_not_causal(subject)
    if causal:
        some = batch_of(source.draw(np.random.default_rng((subject.seed, SEED)), 2 * batch_size)).to(
            case.grid_point.device
        )
        calibrate(subject, some.tokens_BT, some.lengths_B)
    right_NT, depth_N = _right(subject, source, batch_size, causal=causal)
    as_trained_NT = _right(subject, source, batch_size, causal=False)[0] if causal else None
    scored = one_question_each(source.held_out)
    asked_NT, scored_NT = source.held_out.answers_NT != UNASKED, scored.answers_NT != UNASKED
    kind_N, right_N = scored.kinds_NT[scored_NT], right_NT[scored_NT]
    by_kind = {name: (int((kind_N == i).sum()), int(right_N[kind_N == i].sum())) for i, name in enumerate(source.kinds)}
    task: Task = catalogue.load("tasks", case.task)
    drawn = source.draw(np.random.default_rng(SEED), SHORTCUT_EXAMPLES)
    return Answered(
        n=int(scored_NT.sum()),
        correct=int(right_N.sum()),
        correct_as_trained=None if as_trained_NT is None else int(as_trained_NT[scored_NT].sum()),
        whole=int((right_NT | ~asked_NT).all(1).sum()),
        by_kind={name: counts for name, counts in by_kind.items() if counts[0]},
        shortcuts={name: float(level) for name, level in task.shortcuts(drawn, scored).items()},
        depth_by_kind={
            name: float(depth_N[kind_N == i].mean())
            for i, name in enumerate(source.kinds)
            if depth_N is not None and (kind_N == i).any()
        },
        solved=task.solved,
    )


def _right(subject: Subject, source: Source, batch_size: int, *, causal: bool) -> tuple[Any, Any]:
    """Correct answers, bool [N, T], and blocks run [N] (None without a gate)."""
    device, candidates_C = (
        subject.case.grid_point.device,
        torch.tensor(source.candidates, device=subject.case.grid_point.device),
    )
    right, depth = [], []
    with torch.no_grad(), autocast_of(subject.case):
        for part in pieces(source.held_out, batch_size):
            batch = batch_of(part).to(device)
            logits_BTV, _ = subject.logits(
                batch.tokens_BT, causal=causal, lengths_B=batch.lengths_B, prompt_B=batch.prompt_B, model=subject.module
            )
            best_BT = candidates_C[logits_BTV[..., candidates_C].argmax(-1)]
            right.append((best_BT == batch.targets_BT).cpu().numpy())
            depth += _depths(subject, len(batch.tokens_BT))
    return np.concatenate(right), np.array(depth) if depth else None


def _depths(subject: Subject, rows: int) -> list[int]:
    """Blocks that each row of the last call ran, if a gate chose for whole rows."""
    realised: list[int] | None = getattr(subject.module, "realised", None)
    if realised is None or len(realised) != rows or max(realised) > subject.case.config.n_layers:
        return []  # no gate, or one that stops single tokens: its counts are tokens by block
    return list(realised)
