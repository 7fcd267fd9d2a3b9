"""Score a trained model on a task: the likeliest candidate at each question, compared with the answer.

One question of every held-out sequence is scored, drawn from a fixed seed: answers of one sequence are not independent, so
only then is their number a binomial's n. A model with a causal router answers without the future, as in use.

Shapes: N sequences, B batch, T tokens, C candidates.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from modbench.extend import (
    UNASKED,
    Batch,
    Examples,
    Source,
    Task,
    autocast_of,
    calibrate,
    catalogue,
    set_progress,
    why_not_causal,
)
from modbench.plugins.tasks.notes import TaskNotes
from modbench.plugins.tasks.table import task_of

if TYPE_CHECKING:
    from modbench.extend import Subject, TrainRun

SEED = 20_240_402
# Training sequences that shortcuts may learn from.
SHORTCUT_EXAMPLES = 20_000


class Drills:
    """Sequences of a task: new ones for every step, and a fixed set held out."""

    def __init__(self, source: Source, run: TrainRun, seed: int) -> None:
        self.source, self.run, self.seed = source, run, seed

    def train(self, step: int) -> Batch:
        """The batch of a step: B sequences; the same for every variant."""
        return batch_of(self.source.draw(np.random.default_rng((self.seed, step)), self.run.batch_size))

    def val(self) -> Iterator[Batch]:
        """All held-out sequences with all their questions."""
        for part in pieces(self.source.held_out, self.run.batch_size):
            yield batch_of(part)


def pieces(examples: Examples, size: int) -> Iterator[Examples]:
    """Split examples into pieces of at most `size` sequences."""
    for first in range(0, len(examples.lengths_N), size):
        yield rows_of(examples, slice(first, first + size))


def rows_of(examples: Examples, rows: slice) -> Examples:
    """Select sequences."""
    return Examples(
        examples.tokens_NT[rows], examples.answers_NT[rows], examples.kinds_NT[rows], examples.lengths_N[rows]
    )


def batch_of(examples: Examples) -> Batch:
    """Convert to tensors. A gate over the whole input may read up to the first question."""
    answers_BT = torch.from_numpy(np.ascontiguousarray(examples.answers_NT))
    first_B = (answers_BT != UNASKED).int().argmax(1)
    return Batch(
        torch.from_numpy(np.ascontiguousarray(examples.tokens_NT)),
        answers_BT,
        torch.from_numpy(np.ascontiguousarray(examples.lengths_N)),
        first_B + 1,
    )


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


def answer(subject: Subject, source: Source, batch_size: int) -> TaskNotes:
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
    task: Task = catalogue.load("tasks", task_of(case))
    drawn = source.draw(np.random.default_rng(SEED), SHORTCUT_EXAMPLES)
    return TaskNotes(
        seed=subject.seed,
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
