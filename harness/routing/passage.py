"""Routing shown as text: one window with the blocks that each token used, and the words that use most and fewest.

Shapes: N windows, T positions, L layers.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from modbench.harness.routing.collect import Watched
from modbench.harness.routing.ngram import Array
from modbench.harness.routing.strata import KINDS

MOST_POSITIONS = 256
# A rarer word says little about what a router does with it.
OFTEN, WORDS = 8, 12


def texts_of(pieces: Iterable[bytes]) -> list[str]:
    """Decode pieces; a character split over several goes to its last one, an invalid byte becomes a backslash and its code."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="backslashreplace")
    return [decoder.decode(piece) for piece in pieces]


def matrix(seen: Watched, inputs_NT: Array, kind_NT: Array, pieces: Sequence[bytes], window: int) -> dict[str, Any]:
    """Tokens that passed, by layer, in at most 256 positions of one window, and its text."""
    part = slice(0, MOST_POSITIONS)
    chosen_LT = seen.chosen_LNT[:, window, part]
    return {
        "window": window,
        "of": inputs_NT.shape[1],
        "layers": list(seen.layers),
        "rows": ["".join("1" if passed else "0" for passed in row) for row in chosen_LT],
        "used": chosen_LT.sum(0).tolist(),
        "pieces": texts_of(pieces[token] for token in inputs_NT[window, part]),
        "kinds": kind_NT[window, part].tolist(),
        "loss": seen.loss_NT[window, part].tolist(),
    }


def words(seen: Watched, inputs_NT: Array, kind_NT: Array, pieces: Sequence[bytes]) -> dict[str, Any]:
    """Words (a start and its continuations) with the largest and smallest share of routed blocks that their tokens used.

    The extremes of many noisy means are partly chance; each has its `n`.
    """
    share_NT = seen.chosen_LNT.mean(0)
    start, inside = KINDS.index("word start"), KINDS.index("continuation")
    found: dict[bytes, list[float]] = {}
    for tokens_T, kinds_T, share_T in zip(inputs_NT, kind_NT, share_NT, strict=True):
        # The first word of a window may be the rest of one, and its last may be cut.
        starts = [int(at) for at in np.flatnonzero(kinds_T == start) if at > 0]
        for at in starts:
            end = at + 1
            while end < len(kinds_T) and kinds_T[end] == inside:
                end += 1
            if end < len(kinds_T):
                word = b"".join(pieces[token] for token in tokens_T[at:end]).strip()
                found.setdefault(word, []).append(float(share_T[at:end].mean()))
    often = sorted((float(np.mean(each)), len(each), word) for word, each in found.items() if len(each) >= OFTEN)
    rows = [
        {"word": word.decode("utf-8", errors="backslashreplace"), "share": share, "n": n} for share, n, word in often
    ]
    some = min(WORDS, len(rows) // 2)
    return {"at_least": OFTEN, "words": len(rows), "deep": rows[::-1][:some], "shallow": rows[:some]}
