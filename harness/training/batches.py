"""What a training step is made of: windows of a text, or sequences of a task. Equal for every arm of a seed.

Shapes: B batch, T tokens, N sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from modbench.harness.core.contracts import UNASKED, Examples, Source

if TYPE_CHECKING:
    from modbench.harness.core.train_plan import TrainRun
    from modbench.harness.text.tokens import Tokens


class Batch(NamedTuple):
    """Sequences and what must follow their tokens.

    Attributes:
        tokens_BT: int64.
        targets_BT: int64; the next token, `UNASKED` where nothing is asked.
        lengths_B: real tokens of each row, the rest being pads on the right; None: all are.
        prompt_B: tokens that a gate over the whole input may read: up to the first question; None: the model's own rule.
    """

    tokens_BT: Tensor
    targets_BT: Tensor
    lengths_B: Tensor | None = None
    prompt_B: Tensor | None = None

    @property
    def asked(self) -> int:
        """Targets that count."""
        return int((self.targets_BT != UNASKED).sum())

    def rows(self, first: int, every: int) -> Batch:
        """Every so manieth row."""
        return self._each(lambda part: part[first::every])

    def to(self, device: str) -> Batch:
        """The same on a device."""
        return self._each(lambda part: part.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        def perhaps(part: Tensor | None) -> Tensor | None:
            return None if part is None else change(part)

        return Batch(change(self.tokens_BT), change(self.targets_BT), perhaps(self.lengths_B), perhaps(self.prompt_B))


class Batches(Protocol):
    """Where batches come from."""

    def train(self, step: int) -> Batch:
        """The batch of a step: drawn from the seed and the step alone."""

    def val(self) -> Iterator[Batch]:
        """Everything that is held out, batch by batch."""


class Windows:
    """Windows of a text: random ones to train on, evenly spaced held-out ones."""

    def __init__(self, tokens: Tokens, run: TrainRun, seed: int) -> None:
        self.tokens, self.run, self.seed = tokens, run, seed

    def train(self, step: int) -> Batch:
        """Inputs and targets [B, T] of a step; the same for every arm."""
        rng = np.random.default_rng((self.seed, step))
        starts = rng.integers(0, len(self.tokens.train) - self.run.seq_len, self.run.batch_size)
        return self._cut(self.tokens.train, starts)

    def starts(self, most: int) -> np.ndarray:
        """Where held-out windows of at most so many tokens begin."""
        seq_len = self.run.seq_len
        number = max(1, min(most, len(self.tokens.val) - 1) // seq_len)
        return np.linspace(0, len(self.tokens.val) - seq_len - 1, number).astype(np.int64)

    def val(self, most: int | None = None) -> Iterator[Batch]:
        """Held-out batches, never of more tokens than the text has."""
        starts = self.starts(most or self.run.val_tokens)
        for first in range(0, len(starts), self.run.batch_size):
            yield self._cut(self.tokens.val, starts[first : first + self.run.batch_size])

    def _cut(self, data: np.ndarray, starts: np.ndarray) -> Batch:
        rows = data[starts[:, None] + np.arange(self.run.seq_len + 1)].astype(np.int64)
        tokens = torch.from_numpy(rows)
        # Copies: a model that writes into its input must not write into the targets.
        return Batch(tokens[:, :-1].clone(), tokens[:, 1:].clone())


class Drills:
    """Sequences of a task: drawn anew for every step, and the fixed ones that are held out."""

    def __init__(self, source: Source, run: TrainRun, seed: int) -> None:
        self.source, self.run, self.seed = source, run, seed

    def train(self, step: int) -> Batch:
        """B sequences of a step; the same for every arm."""
        return batch_of(self.source.draw(np.random.default_rng((self.seed, step)), self.run.batch_size))

    def val(self) -> Iterator[Batch]:
        """All held-out sequences with all their questions."""
        for part in pieces(self.source.held_out, self.run.batch_size):
            yield batch_of(part)


def joined(batches: Iterable[Batch]) -> Batch:
    """Batches of windows as one."""
    parts = list(batches)
    return Batch(torch.cat([part.tokens_BT for part in parts]), torch.cat([part.targets_BT for part in parts]))


def pieces(examples: Examples, size: int) -> Iterator[Examples]:
    """At most `size` sequences at a time."""
    for first in range(0, len(examples.lengths_N), size):
        yield rows_of(examples, slice(first, first + size))


def rows_of(examples: Examples, rows: slice) -> Examples:
    """Some of the sequences."""
    return Examples(
        examples.tokens_NT[rows], examples.answers_NT[rows], examples.kinds_NT[rows], examples.lengths_N[rows]
    )


def batch_of(examples: Examples) -> Batch:
    """As tensors. A gate over the whole input may read up to the first question."""
    answers_BT = torch.from_numpy(np.ascontiguousarray(examples.answers_NT))
    first_B = (answers_BT != UNASKED).int().argmax(1)
    return Batch(
        torch.from_numpy(np.ascontiguousarray(examples.tokens_NT)),
        answers_BT,
        torch.from_numpy(np.ascontiguousarray(examples.lengths_N)),
        first_B + 1,
    )
