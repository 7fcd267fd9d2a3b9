"""Retrieval over distance: marked key-value facts hidden in filler, each asked for after 1 to 104 further words."""

from __future__ import annotations

from functools import partial

import numpy as np

from modbench.extend import UNASKED, Source, Task
from modbench.plugins.tasks.tasks import _shortcuts as rules
from modbench.plugins.tasks.tasks._build import Bools, Drawn, Ints, choose, generator

KEYS = tuple(f"k{i}" for i in range(8))
VALUES = tuple(f"v{i}" for i in range(8))
FILLER = tuple(f"f{i}" for i in range(8))
MARK, QUERY, FIRST_KEY = 1, 2, 3
ANSWERS = tuple(range(FIRST_KEY + len(KEYS), FIRST_KEY + len(KEYS) + len(VALUES)))
FIRST_FILLER = ANSWERS[-1] + 1
FACTS, DECOYS = 6, 2
# Buckets of the distance in words between a fact's value and its question: the largest distance of each.
FURTHEST = (4, 8, 16, 32, 64, 104)
SEQ_LEN = 128
LAYOUTS = 512


def _make(rng: np.random.Generator, n: int) -> Drawn:
    """Fill random layouts with facts."""
    chosen_N = rng.integers(0, LAYOUTS, n)
    fact_at_NF, query_at_NF, kind_NF, decoy_at_ND = (table[chosen_N] for table in _TABLES)
    keys_NF = FIRST_KEY + choose(rng, n, len(KEYS), FACTS)
    values_NF = rng.integers(ANSWERS[0], ANSWERS[-1] + 1, (n, FACTS))
    tokens_NW = rng.integers(FIRST_FILLER, FIRST_FILLER + len(FILLER), (n, SEQ_LEN + 1))
    answers_NW, kinds_NW = np.full_like(tokens_NW, UNASKED), np.zeros_like(tokens_NW)
    row_N1 = np.arange(n)[:, None]
    # Decoys: the keys of some facts also occur in the filler, unmarked, before a random value.
    tokens_NW[row_N1, decoy_at_ND] = keys_NF[:, :DECOYS]
    tokens_NW[row_N1, decoy_at_ND + 1] = rng.integers(ANSWERS[0], ANSWERS[-1] + 1, (n, DECOYS))
    tokens_NW[row_N1, fact_at_NF] = MARK
    tokens_NW[row_N1, fact_at_NF + 1] = keys_NF
    tokens_NW[row_N1, fact_at_NF + 2] = values_NF
    tokens_NW[row_N1, query_at_NF] = QUERY
    tokens_NW[row_N1, query_at_NF + 1] = keys_NF
    tokens_NW[row_N1, query_at_NF + 2] = values_NF
    answers_NW[row_N1, query_at_NF + 1] = values_NF
    kinds_NW[row_N1, query_at_NF + 1] = kind_NF
    # Text after the last answer is never read; text before the first question decides the side.
    at_W = np.arange(SEQ_LEN + 1)
    tokens_NW[at_W > query_at_NF.max(axis=1, keepdims=True) + 2] = 0
    before_NW = at_W < query_at_NF.min(axis=1, keepdims=True)
    return Drawn(tokens_NW, answers_NW, kinds_NW, tokens_NW * before_NW)


def _layouts() -> tuple[Ints, Ints, Ints, Ints]:
    """Starts of facts, starts of questions, buckets of their distances, starts of decoys: `LAYOUTS` rows each."""
    rng = np.random.default_rng(96)
    found: list[tuple[list[int], ...]] = []
    while len(found) < LAYOUTS:
        layout = _layout(rng)
        if layout is not None:
            found.append(layout)
    facts, queries, kinds, decoys = (np.array(column) for column in zip(*found, strict=True))
    return facts, queries, kinds, decoys


def _layout(rng: np.random.Generator) -> tuple[list[int], list[int], list[int], list[int]] | None:
    """Draw distances and place the longest first; None if one does not fit."""
    free_W: Bools = np.ones(SEQ_LEN + 1, dtype=np.bool_)
    facts: list[int] = []
    queries: list[int] = []
    kinds = sorted((int(kind) for kind in rng.integers(0, len(FURTHEST), FACTS)), reverse=True)
    for kind in kinds:
        distance = int(rng.integers((0, *FURTHEST)[kind] + 1, FURTHEST[kind] + 1))
        room_S = _room(free_W, 3)
        start_S = np.flatnonzero(room_S[: -distance - 3] & room_S[distance + 3 :])
        if not len(start_S):
            return None
        facts.append(int(rng.choice(start_S)))
        queries.append(facts[-1] + distance + 3)
        for taken in (facts[-1], queries[-1]):
            free_W[taken : taken + 3] = False
    room_S = _room(free_W, 2)
    decoys = []
    for _ in range(DECOYS):
        start_S = np.flatnonzero(room_S)
        if not len(start_S):
            return None
        decoys.append(int(rng.choice(start_S)))
        room_S[max(0, decoys[-1] - 1) : decoys[-1] + 2] = False
    return facts, queries, kinds, decoys


def _room(free_W: Bools, words: int) -> Bools:
    """Positions where a run of `words` free words can start."""
    room_S = free_W[: len(free_W) - words + 1].copy()
    for word in range(1, words):
        room_S &= free_W[word : word + len(room_S)]
    return room_S


_TABLES = _layouts()


def _open(_path: str | None) -> Source:
    kinds = [f"{low + 1}-{high}" for low, high in zip((0, *FURTHEST), FURTHEST, strict=False)]
    return generator(("!", "?", *KEYS, *VALUES, *FILLER), VALUES, kinds, SEQ_LEN, _make)


TASK = Task(open=_open, shortcuts=partial(rules.by_key, values=ANSWERS), steps=400)
