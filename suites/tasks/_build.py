"""What generators share: phrases written into rows, and a split by what stands before the first question.

Shapes: N rows, T positions, U units (stories or pairs; several may share a row), W columns of a unit before pads are moved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modbench.harness.contracts import UNASKED, Examples, Source

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
PAD = "<pad>"
HELD_OUT = 2000
# One key in so many is held out.
SHARE = 8


@dataclass(frozen=True)
class Units:
    """Stories or pairs, before they are put into rows.

    Attributes:
        tokens_UW: int64; 0 where nothing stands. Every question is followed by its answer, the last one too.
        answers_UW: int64; as in `Examples`.
        kinds_UW: int64; as in `Examples`.
        key_UK: int64; what the split goes by: units of equal keys are on the same side.
    """

    tokens_UW: Ints
    answers_UW: Ints
    kinds_UW: Ints
    key_UK: Ints


class Writer:
    """Writes phrases side by side, in the same columns for all units."""

    def __init__(self, n: int) -> None:
        self.n = n
        self._columns: list[Ints] = []
        self._asked: dict[int, tuple[Ints, Ints]] = {}

    def say(self, *parts: int | Ints, where: Bools | None = None) -> None:
        """One column for each part: one token, or [U] tokens. Units outside `where` [U] stay silent."""
        for part in parts:
            column_U = np.broadcast_to(np.asarray(part, dtype=np.int64), self.n)
            self._columns.append(column_U if where is None else column_U * where)

    def ask(self, answer_U: Ints, kind: int | Ints, where: Bools | None = None) -> None:
        """A question ends in the column that was written last; its answer follows."""
        asked_U = answer_U if where is None else np.where(where, answer_U, UNASKED)
        kind_U = np.broadcast_to(np.asarray(kind, dtype=np.int64), self.n)
        self._asked[len(self._columns) - 1] = (asked_U, kind_U * (asked_U != UNASKED))
        self.say(answer_U, where=where)

    def units(self, key_UK: Ints) -> Units:
        """What was written."""
        tokens_UW = np.stack(self._columns, axis=1)
        answers_UW, kinds_UW = np.full_like(tokens_UW, UNASKED), np.zeros_like(tokens_UW)
        for column, (answer_U, kind_U) in self._asked.items():
            answers_UW[:, column], kinds_UW[:, column] = answer_U, kind_U
        return Units(tokens_UW, answers_UW, kinds_UW, key_UK)


def is_held_out(key_UK: Ints) -> Bools:
    """Which keys are held out: one in `SHARE`, by a hash of all columns."""
    hash_U = np.full(len(key_UK), 0x9E3779B97F4A7C15, dtype=np.uint64)
    for column_U in key_UK.T.astype(np.uint64):
        hash_U = (hash_U ^ column_U) * np.uint64(0xBF58476D1CE4E5B9)
        hash_U ^= hash_U >> np.uint64(29)
    held_U: Bools = (hash_U >> np.uint64(11)) % np.uint64(SHARE) == 0
    return held_U


def generator(
    words: Sequence[str],
    candidates: Sequence[str],
    kinds: Sequence[str],
    seq_len: int,
    make: Callable[[np.random.Generator, int], Units],
    per_row: int = 1,
) -> Source:
    """A source of units that are made up.

    The split is by the units' keys: no key of a held-out row is ever drawn for training. Keys are what stands before a
    question, so no held-out question is ever seen after the same words.

    Args:
        words: the vocabulary without its pad, which is put in front.
        candidates: the words that answer.
        kinds: names of the kinds of question.
        seq_len: the longest row, the last answer left out.
        make: `make(rng, n)` gives n units of either side.
        per_row: units that share a row.
    """
    vocabulary = (PAD, *words)

    def some(rng: np.random.Generator, n: int, *, held: bool) -> Examples:
        drawn: list[Units] = []
        missing = n * per_row
        while missing > 0:
            # A little more than what is left on average, so that one round mostly does.
            units = make(rng, missing * SHARE if held else missing + missing // 5 + 16)
            right_U = np.flatnonzero(is_held_out(units.key_UK) == held)[:missing]
            drawn.append(Units(units.tokens_UW[right_U], units.answers_UW[right_U], units.kinds_UW[right_U], right_U[:, None]))
            missing -= len(right_U)
        sides = ([getattr(units, name) for units in drawn] for name in ("tokens_UW", "answers_UW", "kinds_UW"))
        return _rows(*(np.concatenate(side).reshape(n, -1) for side in sides), seq_len)

    def draw(rng: np.random.Generator, n: int) -> Examples:
        return some(rng, n, held=False)

    return Source(
        words=vocabulary,
        seq_len=seq_len,
        candidates=tuple(vocabulary.index(word) for word in candidates),
        kinds=tuple(kinds),
        draw=draw,
        held_out=some(np.random.default_rng(20240521), HELD_OUT, held=True),
    )


def _rows(tokens_NW: Ints, answers_NW: Ints, kinds_NW: Ints, seq_len: int) -> Examples:
    """Move silence to the right, where it pads, and take each row's last answer away: nothing follows it."""
    lengths_N = (tokens_NW != 0).sum(axis=1) - 1
    order_NT = np.argsort(tokens_NW == 0, axis=1, kind="stable")[:, :seq_len]
    tokens_NT, answers_NT, kinds_NT = (
        np.take_along_axis(side_NW, order_NT, axis=1) for side_NW in (tokens_NW, answers_NW, kinds_NW)
    )
    tokens_NT[np.arange(seq_len) >= lengths_N[:, None]] = 0
    return Examples(tokens_NT, answers_NT, kinds_NT, lengths_N)


def choose(rng: np.random.Generator, n: int, among: int, count: int) -> Ints:
    """[n, count] different numbers below `among`, in random order."""
    return np.argsort(rng.random((n, among)), axis=1)[:, :count].astype(np.int64)
