"""Training batches: windows of a text. Equal for every variant of a seed.

Shapes: B batch, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from modbench.harness.core.contracts import UNASKED

if TYPE_CHECKING:
    from modbench.harness.core.train_plan import TrainRun
    from modbench.harness.planning.text.tokens import Tokens


class Batch(NamedTuple):
    """Sequences and their targets.

    Attributes:
        tokens_BT: int64.
        targets_BT: int64; the next token, or `UNASKED` where no loss is taken.
        lengths_B: real tokens of each row, followed by padding; None: all are real.
        prompt_B: tokens that a gate over the whole input may read, up to the first question; None: the model's own rule.
    """

    tokens_BT: Tensor
    targets_BT: Tensor
    lengths_B: Tensor | None = None
    prompt_B: Tensor | None = None

    @property
    def number_of_targets(self) -> int:
        """Number of targets that count."""
        return int((self.targets_BT != UNASKED).sum())

    def rows(self, first: int, every: int) -> Batch:
        """Select every `every`-th row, starting with row `first`."""
        return self._each(lambda part: part[first::every])

    def to(self, device: str) -> Batch:
        """Copy the batch to a device; to a GPU without waiting for what it is doing."""
        if device != "cpu":
            # From pageable memory the host would wait for the whole step before; pinned memory is kept until it has been read.
            return self._each(lambda part: part.pin_memory().to(device, non_blocking=True))
        return self._each(lambda part: part.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        def perhaps(part: Tensor | None) -> Tensor | None:
            return None if part is None else change(part)

        return Batch(change(self.tokens_BT), change(self.targets_BT), perhaps(self.lengths_B), perhaps(self.prompt_B))


class Batches(Protocol):
    """A source of batches."""

    def train(self, step: int) -> Batch:
        """The batch of a step, drawn from the seed and the step alone."""

    def val(self) -> Iterator[Batch]:
        """All held-out batches."""


class Windows:
    """Windows of a text: random ones for training, evenly spaced ones held out."""

    def __init__(self, tokens: Tokens, run: TrainRun, seed: int) -> None:
        self.tokens, self.run, self.seed = tokens, run, seed

    def train(self, step: int) -> Batch:
        """The batch of a step: inputs and targets [B, T]; the same for every variant."""
        rng = np.random.default_rng((self.seed, step))
        starts = rng.integers(0, len(self.tokens.train) - self.run.seq_len, self.run.batch_size)
        return self._cut(self.tokens.train, starts)

    def starts(self, most: int) -> np.ndarray:
        """Starts of the held-out sequences, of at most `most` tokens in all."""
        seq_len, part = self.run.seq_len, self.run.held_out
        if part == "all":
            number = max(1, min(most, len(self.tokens.val) - 1) // seq_len)
            return np.linspace(0, len(self.tokens.val) - seq_len - 1, number).astype(np.int64)
        # Twice as many windows that do not overlap, of which each part has every other one.
        number = max(1, min(2 * most, len(self.tokens.val) - 1) // (2 * seq_len))
        both = np.linspace(0, len(self.tokens.val) - seq_len - 1, 2 * number).astype(np.int64)
        return both[0 if part == "explore" else 1 :: 2]

    def tokens_per_byte(self) -> float:
        """Held-out tokens that `val` scores, over the bytes that they stand for."""
        sizes = np.array([len(piece) for piece in self.tokens.pieces])
        targets = [
            self.tokens.val[start + 1 : start + 1 + self.run.seq_len] for start in self.starts(self.run.val_tokens)
        ]
        return sum(map(len, targets)) / int(sum(sizes[each].sum() for each in targets))

    def val(self, most: int | None = None) -> Iterator[Batch]:
        """Held-out batches, of at most the tokens that the text has."""
        starts = self.starts(most or self.run.val_tokens)
        for first in range(0, len(starts), self.run.batch_size):
            yield self._cut(self.tokens.val, starts[first : first + self.run.batch_size])

    def _cut(self, data: np.ndarray, starts: np.ndarray) -> Batch:
        rows = data[starts[:, None] + np.arange(self.run.seq_len + 1)].astype(np.int64)
        tokens = torch.from_numpy(rows)
        # Copies: a model that writes into its input must not write into the targets.
        return Batch(tokens[:, :-1].clone(), tokens[:, 1:].clone())


def joined(batches: Iterable[Batch]) -> Batch:
    """Join batches of windows into one."""
    parts = list(batches)
    return Batch(torch.cat([part.tokens_BT for part in parts]), torch.cat([part.targets_BT for part in parts]))
