"""Shared by generated tasks: write phrases into rows, and split rows by the text before the first question.

Shapes: N rows, T positions, W columns before pads are moved to the right, K columns of a key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modbench.extend import UNASKED, Examples, Source

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
PAD = "<pad>"
HELD_OUT, HELD_OUT_SEED = 2000, 20240521
# One key in eight is held out.
SHARE = 8


@dataclass(frozen=True)
class Drawn:
    """Rows as a generator makes them.

    Attributes:
        tokens_NW: int64; 0 where a row is silent. Every question is followed by its answer, the last one too.
        answers_NW: int64; as in `Examples`.
        kinds_NW: int64; as in `Examples`.
        key_NK: int64; decides the split: rows of equal keys are on the same side.
    """

    tokens_NW: Ints
    answers_NW: Ints
    kinds_NW: Ints
    key_NK: Ints

    def rows(self, chosen_N: Ints) -> Drawn:
        """The chosen rows."""
        return Drawn(
            self.tokens_NW[chosen_N], self.answers_NW[chosen_N], self.kinds_NW[chosen_N], self.key_NK[chosen_N]
        )


class Writer:
    """Writes phrases from left to right, in the same columns for all rows."""

    def __init__(self, n: int) -> None:
        self.n = n
        self._columns: list[Ints] = []
        self._asked: dict[int, tuple[Ints, Ints]] = {}

    def write(self, *parts: int | Ints, where: Bools | None = None) -> None:
        """Append one column for each part: one token, or [N] tokens. Rows outside `where` [N] stay silent."""
        for part in parts:
            column_N = np.broadcast_to(np.asarray(part, dtype=np.int64), self.n)
            self._columns.append(column_N if where is None else column_N * where)

    def ask(self, answer_N: Ints, kind: int | Ints, where: Bools | None = None) -> None:
        """End a question in the last column, and append its answer."""
        asked_N = answer_N if where is None else np.where(where, answer_N, UNASKED)
        kind_N = np.broadcast_to(np.asarray(kind, dtype=np.int64), self.n)
        self._asked[len(self._columns) - 1] = (asked_N, kind_N * (asked_N != UNASKED))
        self.write(answer_N, where=where)

    def drawn(self, key_NK: Ints) -> Drawn:
        """The rows written so far."""
        tokens_NW = np.stack(self._columns, axis=1)
        answers_NW, kinds_NW = np.full_like(tokens_NW, UNASKED), np.zeros_like(tokens_NW)
        for column, (answer_N, kind_N) in self._asked.items():
            answers_NW[:, column], kinds_NW[:, column] = answer_N, kind_N
        return Drawn(tokens_NW, answers_NW, kinds_NW, key_NK)


def is_held_out(key_NK: Ints) -> Bools:
    """Which keys are held out: one in `SHARE`, by a hash of all columns."""
    hash_N = np.full(len(key_NK), 0x9E3779B97F4A7C15, dtype=np.uint64)
    for column_N in key_NK.T.astype(np.uint64):
        hash_N = (hash_N ^ column_N) * np.uint64(0xBF58476D1CE4E5B9)
        hash_N ^= hash_N >> np.uint64(29)
    held_N: Bools = (hash_N >> np.uint64(11)) % np.uint64(SHARE) == 0
    return held_N


def generator(
    words: Sequence[str],
    candidates: Sequence[str],
    kinds: Sequence[str],
    seq_len: int,
    make: Callable[[np.random.Generator, int], Drawn],
) -> Source:
    """A source of generated rows.

    A row's key, the text before its first question, decides its side: no held-out question is ever asked in training after
    the same words.

    Args:
        words: the vocabulary without its pad, which is prepended.
        candidates: the words that can be answers.
        kinds: names of the kinds of question.
        seq_len: length of the longest row without its last answer.
        make: `make(rng, n)` returns n rows of either side.
    """
    vocabulary = (PAD, *words)

    def some(rng: np.random.Generator, n: int, *, held_out: bool) -> Examples:
        kept: list[Drawn] = []
        missing = n
        while missing > 0:
            # A little more than needed on average, so that one round usually suffices.
            drawn = make(rng, missing * SHARE if held_out else missing + missing // 5 + 16)
            kept.append(drawn.rows(np.flatnonzero(is_held_out(drawn.key_NK) == held_out)[:missing]))
            missing -= len(kept[-1].key_NK)
        return padded(kept, seq_len)

    def draw(rng: np.random.Generator, n: int) -> Examples:
        return some(rng, n, held_out=False)

    return Source(
        words=vocabulary,
        seq_len=seq_len,
        candidates=tuple(vocabulary.index(word) for word in candidates),
        kinds=tuple(kinds),
        draw=draw,
        held_out=some(np.random.default_rng(HELD_OUT_SEED), HELD_OUT, held_out=True),
    )


def padded(parts: list[Drawn], seq_len: int) -> Examples:
    """Move silent columns to the right as padding, and remove each row's last answer, which nothing follows."""
    tokens_NW = np.concatenate([part.tokens_NW for part in parts])
    lengths_N = (tokens_NW != 0).sum(axis=1) - 1
    order_NT = np.argsort(tokens_NW == 0, axis=1, kind="stable")[:, :seq_len]
    tokens_NT = np.take_along_axis(tokens_NW, order_NT, axis=1)
    tokens_NT[np.arange(seq_len) >= lengths_N[:, None]] = 0
    answers_NT = np.take_along_axis(np.concatenate([part.answers_NW for part in parts]), order_NT, axis=1)
    kinds_NT = np.take_along_axis(np.concatenate([part.kinds_NW for part in parts]), order_NT, axis=1)
    return Examples(tokens_NT, answers_NT, kinds_NT, lengths_N)


def choose(rng: np.random.Generator, n: int, among: int, count: int) -> Ints:
    """[n, count] distinct numbers below `among`, in random order."""
    return np.argsort(rng.random((n, among)), axis=1)[:, :count].astype(np.int64)
