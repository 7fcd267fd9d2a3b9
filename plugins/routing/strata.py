"""Strata of held-out tokens: by kind, position, frequency and difficulty of the text, by loss and entropy of a model.

Kind, position and frequency are those of the token at a position, which its router sees. Difficulty, loss and entropy are about
the next token, which the position has to predict. Strata of the text are the same for every model; those by loss and entropy
depend on the model.

Shapes: N windows, T positions, V vocabulary, M training tokens.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from modbench.plugins.routing.ngram import Array, surprisal

KINDS = ("word start", "continuation", "digit", "punctuation", "whitespace")
POSITION_BINS = 8
_LETTER, _DIGIT, _PUNCTUATION, _SPACE = range(4)
# Names of four bins, and of fewer: equal values are never separated.
_NAMES = {
    "frequency": (("rarest", "rare", "common", "commonest"), "rarer", "commoner"),
    "difficulty": (("easiest", "easy", "hard", "hardest"), "easier", "harder"),
}
_LEVELS = (("lowest", "low", "high", "highest"), "lower", "higher")


class Tokens(Protocol):
    """A tokenized text.

    Attributes:
        train: ids of the training tokens, a numpy array of whole numbers.
        pieces: the bytes that each token stands for.
    """

    @property
    def train(self) -> Array: ...  # noqa: D102  # said above
    @property
    def pieces(self) -> tuple[bytes, ...]: ...  # noqa: D102  # said above


@dataclass(frozen=True)
class Stratum:
    """A division of tokens into bins.

    Attributes:
        unit: of `ranges`; empty for kinds.
        labels: of the bins, in order.
        ranges: lowest and highest value in each bin; None for kinds.
        bin_NT: every token's bin; each token is in exactly one.
        values_NT: the values that were binned; None for kinds.
    """

    unit: str
    labels: tuple[str, ...]
    ranges: tuple[tuple[float, float], ...] | None
    bin_NT: Array
    values_NT: Array | None = None


def text_strata(inputs_NT: Array, targets_NT: Array, tokens: Tokens) -> dict[str, Stratum]:
    """Strata of the text alone: `kind`, `position`, `frequency` (per million training tokens), `difficulty` (nats)."""
    vocab = len(tokens.pieces)
    per_million_V = np.bincount(tokens.train, minlength=vocab) * (1e6 / max(1, len(tokens.train)))
    hard_NT = surprisal(tokens.train, inputs_NT, targets_NT, vocab)
    return {
        "kind": Stratum("", KINDS, None, kinds_of(inputs_NT, tokens.pieces)),
        "position": positions(inputs_NT),
        "frequency": quarters("frequency", "per million", per_million_V[inputs_NT]),
        "difficulty": quarters("difficulty", "nat", hard_NT),
    }


def kinds_of(tokens_NT: Array, pieces: Sequence[bytes]) -> Array:
    """Every token's index into KINDS.

    A piece is classified by its first character other than white space; letters continue a word if only letters, digits and
    `_` lie between. Bytes of a character that is split over tokens count as letters; an empty piece (a special token) as
    punctuation. The text before the window is unknown: letters at its start begin a word.
    """
    facts = [_facts(piece) for piece in pieces]
    head_V, led_V, open_V = (np.array(column) for column in zip(*facts, strict=True))
    before_NT = np.zeros(tokens_NT.shape, dtype=bool)
    before_NT[:, 1:] = open_V[tokens_NT[:, :-1]]
    names = {_LETTER: 0, _DIGIT: 2, _PUNCTUATION: 3, _SPACE: 4}
    kind_NT = np.array([names[head] for head in range(4)])[head_V[tokens_NT]]
    return np.where((kind_NT == 0) & before_NT & ~led_V[tokens_NT], 1, kind_NT)


def _facts(piece: bytes) -> tuple[int, bool, bool]:
    """Class of the first character, whether white space comes before it, and whether letters may continue the piece."""
    text = piece.decode("utf-8", errors="surrogateescape")
    bare = text.lstrip()
    led = len(bare) < len(text)
    if not bare:
        return (_SPACE if text else _PUNCTUATION), led, False
    return _class(bare[0]), led, _class(text[-1]) in {_LETTER, _DIGIT}


def _class(character: str) -> int:
    if character in string.digits:
        return _DIGIT
    if character.isspace():
        return _SPACE
    broken = "\udc80" <= character <= "\udcff"  # a single byte of a character
    return _LETTER if character.isalnum() or character == "_" or broken else _PUNCTUATION


def positions(tokens_NT: Array) -> Stratum:
    """Divide positions into about eight bins of equal length."""
    n, t = tokens_NT.shape
    edges = np.unique(np.linspace(0, t, min(POSITION_BINS, t) + 1).astype(int))
    bin_NT = np.broadcast_to(np.searchsorted(edges, np.arange(t), side="right") - 1, (n, t))
    ends = [(int(low), int(high) - 1) for low, high in itertools.pairwise(edges)]
    labels = tuple(f"{low}–{high}" if low < high else str(low) for low, high in ends)
    place_NT = np.broadcast_to(np.arange(t), (n, t))
    return Stratum("token", labels, tuple((float(low), float(high)) for low, high in ends), bin_NT, place_NT)


def quarters(name: str, unit: str, values_NT: Array) -> Stratum:
    """Divide values into four bins of about equal size; equal values are never separated, so bins may be fewer or unequal."""
    edges = np.unique(np.quantile(values_NT, (0.25, 0.5, 0.75), method="inverted_cdf"))
    _, bin_NT = np.unique(np.searchsorted(edges, values_NT, side="left"), return_inverse=True)
    bin_NT = bin_NT.reshape(values_NT.shape)
    n = int(bin_NT.max()) + 1
    inside = [values_NT[bin_NT == i] for i in range(n)]
    four, below, above = _NAMES.get(name, _LEVELS)
    labels = {1: ("any",), 2: (below, above), 3: (four[0], "middle", four[-1]), 4: four}[n]
    ranges = tuple((float(each.min()), float(each.max())) for each in inside)
    return Stratum(unit, labels, ranges, bin_NT, values_NT)
