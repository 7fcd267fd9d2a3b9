"""Rules that do not solve a task: a model's accuracy must be compared with the accuracy that they reach.

Shapes: N sequences, T positions, Q questions, V tokens, C answers seen in training. Accuracies are shares of the held-out
questions, between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modbench.extend import UNASKED, Examples
from modbench.plugins.tasks.tasks._build import Bools, Ints

Floats = NDArray[np.float32]
# Training questions that a rule learns from, evenly spaced: more only take longer.
MOST = 20_000
# The same for tables of last words, which need more questions where answers are long.
MOST_TABLED = 1_000_000


@dataclass(frozen=True)
class Questions:
    """The asked positions of some sequences.

    Attributes:
        tokens_NT: the sequences.
        row_Q: sequence of each question.
        at_Q: position where it ends.
        answer_Q: its answer.
    """

    tokens_NT: Ints
    row_Q: Ints
    at_Q: Ints
    answer_Q: Ints

    def seen(self, start_Q: Ints | int = 0) -> Bools:
        """[Q, T]: positions from `start_Q` to where the question ends."""
        at_T = np.arange(self.tokens_NT.shape[1])
        seen_QT: Bools = (at_T >= np.asarray(start_Q).reshape(-1, 1)) & (at_T <= self.at_Q[:, None])
        return seen_QT


Start = Callable[[Questions], Ints | int]


def questions(examples: Examples, most: int | None = None) -> Questions:
    """All asked positions, or at most `most` of them, evenly spaced."""
    row_Q, at_Q = np.nonzero(examples.answers_NT != UNASKED)
    if most is not None and len(row_Q) > most:
        chosen_Q = np.linspace(0, len(row_Q) - 1, most).astype(np.int64)
        row_Q, at_Q = row_Q[chosen_Q], at_Q[chosen_Q]
    return Questions(examples.tokens_NT, row_Q, at_Q, examples.answers_NT[row_Q, at_Q])


def everything(_asked: Questions) -> int:
    """Start: the whole sequence up to the question's end."""
    return 0


def after(token: int) -> Start:
    """Start: after the last occurrence of the token before the question's end."""

    def start(asked: Questions) -> Ints:
        found_QT = (asked.tokens_NT[asked.row_Q] == token) & asked.seen()
        start_Q: Ints = (np.arange(1, found_QT.shape[1] + 1) * found_QT).max(axis=1)
        return start_Q

    return start


def _presence(asked: Questions, start: Start, size: int) -> Floats:
    """[Q, V]: 1 where a token occurs between start and end."""
    present_QV = np.zeros((len(asked.row_Q), size), dtype=np.float32)
    question_K, at_K = np.nonzero(asked.seen(start(asked)))
    present_QV[question_K, asked.tokens_NT[asked.row_Q[question_K], at_K]] = 1
    return present_QV


def _learn(train: Examples, held_out: Examples, start: Start) -> tuple[Floats, Floats, Ints, Floats, Questions]:
    """Token presence in training and held out [Q, V], the answers [C], which of them is right [Q, C], the held-out questions."""
    size = int(max(train.tokens_NT.max(), held_out.tokens_NT.max())) + 1
    learnt, asked = questions(train, MOST), questions(held_out)
    answer_C, index_Q = np.unique(learnt.answer_Q, return_inverse=True)
    right_QC = np.eye(len(answer_C), dtype=np.float32)[index_Q]
    return _presence(learnt, start, size), _presence(asked, start, size), answer_C, right_QC, asked


def majority(train: Examples, held_out: Examples) -> float:
    """Always the most frequent training answer."""
    return float(np.mean(questions(held_out).answer_Q == _mode(questions(train).answer_Q)))


def bag(train: Examples, held_out: Examples, start: Start = everything) -> float:
    """Naive Bayes over which words occur, regardless of order and number."""
    learnt_QV, present_QV, answer_C, right_QC, asked = _learn(train, held_out, start)
    count_CV = right_QC.T @ learnt_QV + 0.5
    total_C1 = right_QC.sum(axis=0)[:, None] + 1.0
    there_CV, away_CV = np.log(count_CV / total_C1), np.log1p(-count_CV / total_C1)
    score_QC = present_QV @ (there_CV - away_CV).T + away_CV.sum(axis=1) + np.log(total_C1.T)
    return float(np.mean(answer_C[np.argmax(score_QC, axis=1)] == asked.answer_Q))


def cue(train: Examples, held_out: Examples, start: Start = everything) -> float:
    """One answer if a word occurs, another if it does not; the word is the best one in training."""
    learnt_QV, present_QV, answer_C, right_QC, asked = _learn(train, held_out, start)
    there_VC = learnt_QV.T @ right_QC
    away_VC = right_QC.sum(axis=0) - there_VC
    word = int(np.argmax(there_VC.max(axis=1) + away_VC.max(axis=1)))
    with_it, without = answer_C[np.argmax(there_VC[word])], answer_C[np.argmax(away_VC[word])]
    return float(np.mean(np.where(present_QV[:, word] > 0, with_it, without) == asked.answer_Q))


def last(train: Examples, held_out: Examples, count: int = 1) -> float:
    """The most frequent training answer after the same last `count` words; after unseen words, the majority."""
    learnt, asked = questions(train, MOST_TABLED), questions(held_out)
    size = int(max(side.max() for side in (train.tokens_NT, held_out.tokens_NT, learnt.answer_Q))) + 1
    learnt_Q, key_Q = _last_words(learnt, count, size), _last_words(asked, count, size)
    both_K, count_K = np.unique(learnt_Q * size + learnt.answer_Q, return_counts=True)
    # Sorted by key, then by frequency: the last entry of each key is its most frequent answer.
    order_K = np.lexsort((count_K, both_K // size))
    known_K, answer_K = both_K[order_K] // size, both_K[order_K] % size
    where_Q = np.searchsorted(known_K, key_Q, side="right") - 1
    found_Q = (where_Q >= 0) & (known_K[where_Q] == key_Q)
    return float(np.mean(np.where(found_Q, answer_K[where_Q], _mode(learnt.answer_Q)) == asked.answer_Q))


def _last_words(asked: Questions, count: int, size: int) -> Ints:
    """[Q]: one number for the last `count` words up to the question's end; pads replace what is before the row."""
    key_Q = np.zeros(len(asked.row_Q), dtype=np.int64)
    for back in range(count):
        at_Q = asked.at_Q - back
        key_Q = key_Q * size + np.where(at_Q >= 0, asked.tokens_NT[asked.row_Q, np.maximum(at_Q, 0)], 0)
    return key_Q


def _mode(answer_Q: Ints) -> int:
    answer_C, count_C = np.unique(answer_Q, return_counts=True)
    return int(answer_C[np.argmax(count_C)])


def _shown(asked: Questions, candidates: Sequence[int]) -> tuple[Bools, Ints]:
    """Where a candidate occurs before the question's end [Q, T], and the tokens of the questions' rows [Q, T]."""
    tokens_QT = asked.tokens_NT[asked.row_Q]
    return np.isin(tokens_QT, candidates) & asked.seen(), tokens_QT


def most_recent(held_out: Examples, candidates: Sequence[int]) -> float:
    """The candidate that was shown last; wrong if none was shown."""
    asked = questions(held_out)
    shown_QT, tokens_QT = _shown(asked, candidates)
    at_Q = (np.arange(shown_QT.shape[1]) * shown_QT).argmax(axis=1)
    guess_Q = np.where(shown_QT.any(axis=1), tokens_QT[np.arange(len(at_Q)), at_Q], UNASKED)
    return float(np.mean(guess_Q == asked.answer_Q))


def _counts(asked: Questions, candidates: Sequence[int]) -> Ints:
    """[Q, candidates]: how often each was shown before the question's end."""
    shown_QT, tokens_QT = _shown(asked, candidates)
    return np.stack([(shown_QT & (tokens_QT == token)).sum(axis=1) for token in candidates], axis=1).astype(np.int64)


def most_frequent(held_out: Examples, candidates: Sequence[int]) -> float:
    """The candidate that was shown most often; ties count with the expected accuracy of a random draw."""
    asked = questions(held_out)
    count_QC = _counts(asked, candidates)
    best_QC = count_QC == count_QC.max(axis=1, keepdims=True)
    right_QC = np.asarray(candidates) == asked.answer_Q[:, None]
    return float(np.mean((best_QC & right_QC).sum(axis=1) / best_QC.sum(axis=1)))


def one_shown(held_out: Examples, candidates: Sequence[int]) -> float:
    """A random candidate among those shown; the expected accuracy."""
    asked = questions(held_out)
    shown_QC = _counts(asked, candidates) > 0
    right_QC = np.asarray(candidates) == asked.answer_Q[:, None]
    return float(np.mean((shown_QC & right_QC).sum(axis=1) / np.maximum(shown_QC.sum(axis=1), 1)))


def by_key(
    train: Examples, held_out: Examples, values: Sequence[int], key: str = "key", value: str = "value"
) -> dict[str, float]:
    """Accuracies of all rules where one of some values is asked for by its key; both words are the task's."""
    return {
        "majority": majority(train, held_out),
        "bag of words": bag(train, held_out),
        f"by the {key} alone": last(train, held_out),
        f"most recent {value}": most_recent(held_out, values),
        f"most frequent {value}": most_frequent(held_out, values),
        f"a {value} shown": one_shown(held_out, values),
    }
