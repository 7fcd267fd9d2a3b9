"""Sums: five digits, an equals sign, and the last digit of their sum."""

import numpy as np

from modbench.extend import UNASKED, Examples, Source, Task

WORDS = ("<pad>", "=", *"0123456789")  # token 0 pads
EQUALS, ZERO, DIGITS = 1, 2, 5


def make(digits):
    """Examples from digits [N, 5]: the answer must follow the equals sign, at position 5."""
    n = len(digits)
    tokens = np.concatenate([digits + ZERO, np.full((n, 1), EQUALS)], axis=1).astype(np.int64)
    answers, kinds = np.full_like(tokens, UNASKED), np.zeros_like(tokens)
    answers[:, DIGITS] = digits.sum(1) % 10 + ZERO
    return Examples(tokens, answers, kinds, np.full(n, DIGITS + 1, dtype=np.int64))


def pick(rng, n, *, held_out):
    """Rows of one side: one row in eight is held out, by its digits, so that no row is on both."""
    digits = rng.integers(0, 10, (20 * n, DIGITS))
    return digits[(digits @ [1, 3, 7, 11, 13] % 8 == 0) == held_out][:n]


def open_(_path):
    held_out = make(pick(np.random.default_rng(0), 200, held_out=True))
    return Source(
        words=WORDS,
        seq_len=DIGITS + 1,
        candidates=tuple(range(ZERO, len(WORDS))),
        kinds=("sum",),
        draw=lambda rng, n: make(pick(rng, n, held_out=False)),
        held_out=held_out,
    )


def shortcuts(_train, held_out):
    """Accuracy of a rule that does not add: always the most frequent answer."""
    answers = held_out.answers_NT[held_out.answers_NT != UNASKED]
    return {"majority": float(np.bincount(answers).max() / len(answers))}


TASK = Task(open=open_, shortcuts=shortcuts, steps=200)
