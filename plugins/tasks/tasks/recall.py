"""Associative recall (MQAR): one to four key-value pairs, then every key in random order; its value is asked."""

from __future__ import annotations

from functools import partial

import numpy as np

from modbench.extend import Source, Task
from modbench.plugins.tasks.tasks import _shortcuts as rules
from modbench.plugins.tasks.tasks._build import Drawn, Writer, choose, generator

KEYS = tuple(f"k{i}" for i in range(16))
VALUES = tuple(f"v{i}" for i in range(16))
MOST_PAIRS = 4
ANSWERS = tuple(range(1 + len(KEYS), 1 + len(KEYS) + len(VALUES)))


def _make(rng: np.random.Generator, n: int) -> Drawn:
    """Values are drawn independently, so that earlier answers do not narrow down later ones."""
    pairs_N = rng.integers(1, MOST_PAIRS + 1, n)
    keys_NP = 1 + choose(rng, n, len(KEYS), MOST_PAIRS)
    values_NP = rng.integers(ANSWERS[0], ANSWERS[-1] + 1, (n, MOST_PAIRS))
    there_NP = np.arange(MOST_PAIRS) < pairs_N[:, None]
    order_NP = choose(rng, n, MOST_PAIRS, MOST_PAIRS)
    writer = Writer(n)
    for pair in range(MOST_PAIRS):
        writer.write(keys_NP[:, pair], values_NP[:, pair], where=there_NP[:, pair])
    row_N = np.arange(n)
    for pair_N in order_NP.T:
        writer.write(keys_NP[row_N, pair_N], where=there_NP[row_N, pair_N])
        writer.ask(values_NP[row_N, pair_N], pairs_N - 1, where=there_NP[row_N, pair_N])
    return writer.drawn(np.concatenate([keys_NP * there_NP, values_NP * there_NP], axis=1))


def _open(_path: str | None) -> Source:
    kinds = ("1 pair", *(f"{pairs} pairs" for pairs in range(2, MOST_PAIRS + 1)))
    return generator((*KEYS, *VALUES), VALUES, kinds, 4 * MOST_PAIRS - 1, _make)


TASK = Task(open=_open, shortcuts=partial(rules.by_key, values=ANSWERS), steps=700)
