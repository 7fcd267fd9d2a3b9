"""Copy: sixteen symbols, a separator, the symbols again. A sanity check: attention learns it in seconds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from modbench.extend import Examples, Source, Task
from modbench.plugins.tasks.tasks import _shortcuts as rules
from modbench.plugins.tasks.tasks._build import Drawn, Writer, generator

SYMBOLS = tuple("abcdefghijklmnop")
LENGTH = 16
SEPARATOR = 1
FIRST = 2
ANSWERS = tuple(range(FIRST, FIRST + len(SYMBOLS)))


def _make(rng: np.random.Generator, n: int) -> Drawn:
    symbols_NS = rng.integers(FIRST, FIRST + len(SYMBOLS), (n, LENGTH))
    writer = Writer(n)
    writer.write(*symbols_NS.T, SEPARATOR)
    for symbol_N in symbols_NS.T:
        writer.ask(symbol_N, 0)
    return writer.drawn(symbols_NS)


def _open(_path: str | None) -> Source:
    seq_len = 2 * LENGTH  # the last repeated symbol is only an answer
    return generator(("|", *SYMBOLS), SYMBOLS, ("symbol",), seq_len, _make)


def _shortcuts(train: Examples, held_out: Examples) -> Mapping[str, float]:
    return {
        "majority": rules.majority(train, held_out),
        "bag of words": rules.bag(train, held_out),
        "by the last symbol": rules.last(train, held_out),
        "most frequent symbol": rules.most_frequent(held_out, ANSWERS),
        "a symbol shown": rules.one_shown(held_out, ANSWERS),
    }


TASK = Task(open=_open, shortcuts=_shortcuts, steps=300)
