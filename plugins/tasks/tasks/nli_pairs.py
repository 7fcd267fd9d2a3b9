"""Inference over sentence pairs from your files: SNLI or MNLI (jsonl), MED (tsv); one file or a folder."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from modbench.extend import UNASKED, Examples, Source, Task, UsageError
from modbench.plugins.tasks.tasks import _shortcuts as rules
from modbench.plugins.tasks.tasks._build import PAD, Ints
from modbench.plugins.tasks.tasks._files import records, sides, split

NAME = "nli_pairs"
FIELDS = ("sentence1", "sentence2", "gold_label")
# The most frequent words that occur at least twice in training have their own token. All others share buckets by hash, so that a
# model can still see that a rare word occurs in both sentences.
MOST_WORDS, BUCKETS = 1000, 48
# Longer pairs lose the start of their premise.
MOST_TOKENS = 64
FITTING = 0.98
HYPOTHESIS, MARK = "<hypothesis>", "<label>"
USUAL_ORDER = ("entailment", "neutral", "contradiction")


class Pair(NamedTuple):
    """Two sentences, the gold label, and MED's direction of inference if the file gives it."""

    premise: str
    hypothesis: str
    label: str
    direction: str


def read(file: Path) -> Iterator[Pair]:
    """The labelled pairs of a file; pairs without a gold label (`-`) are skipped.

    Raises:
        UsageError: if a record lacks a field.
    """
    for record in records(NAME, file):
        if not isinstance(record, dict) or any(not isinstance(record.get(field), str) for field in FIELDS):
            found = ", ".join(map(str, record)) if isinstance(record, dict) else repr(record)
            raise UsageError(
                f"task {NAME!r}: a record of {file} lacks text in one of {', '.join(FIELDS)}; it has: {found[:200]}."
            )
        if record["gold_label"] not in {"-", ""}:
            parts = str(record.get("genre", "")).split(":")
            direction = next((part for part in parts if part.endswith("_monotone")), "")
            yield Pair(record["sentence1"], record["sentence2"], record["gold_label"], direction)


def words_of(text: str) -> list[str]:
    """Lower-cased words and punctuation marks."""
    return re.findall(r"\w+(?:'\w+)?|[^\w\s]", text.lower())


class Vocabulary:
    """The tokens: pad, labels, marks, frequent words of the training side, buckets for all others."""

    def __init__(self, train: list[Pair], labels: tuple[str, ...]) -> None:
        counts = Counter(word for pair in train for text in pair[:2] for word in words_of(text))
        frequent = [word for word, count in counts.most_common(MOST_WORDS) if count > 1]
        first = (PAD, *(f"<{label}>" for label in labels), HYPOTHESIS, MARK)
        self.words = (*first, *frequent, *(f"<rare-{i}>" for i in range(BUCKETS)))
        self.label = {label: 1 + i for i, label in enumerate(labels)}
        self.hypothesis, self.mark = len(first) - 2, len(first) - 1
        self._known = {word: len(first) + i for i, word in enumerate(frequent)}
        self._buckets = len(first) + len(frequent)

    def row(self, pair: Pair) -> list[int]:
        """Tokens of a pair, up to the mark at which its label is asked."""
        premise, hypothesis = ([self._token(word) for word in words_of(text)] for text in pair[:2])
        return [*premise, self.hypothesis, *hypothesis, self.mark]

    def _token(self, word: str) -> int:
        return self._known.get(word) or self._buckets + zlib.crc32(word.encode("utf-8", "surrogatepass")) % BUCKETS


def _order(label: str) -> tuple[int, str]:
    """Sort key: the usual three labels in their usual order, then others by name."""
    return (USUAL_ORDER.index(label) if label in USUAL_ORDER else len(USUAL_ORDER), label)


def _examples(pairs: list[Pair], vocabulary: Vocabulary, kinds: tuple[str, ...], seq_len: int) -> Examples:
    """All pairs, padded. int16 holds the vocabulary and keeps half a million pairs in 200 MB; `_some` converts to int64."""
    tokens_NT = np.zeros((len(pairs), seq_len), dtype=np.int16)
    answers_NT = np.full_like(tokens_NT, UNASKED)
    kinds_NT = np.zeros_like(tokens_NT)
    lengths_N = np.zeros(len(pairs), dtype=np.int64)
    for n, pair in enumerate(pairs):
        row = vocabulary.row(pair)[-seq_len:]
        tokens_NT[n, : len(row)] = row
        answers_NT[n, len(row) - 1] = vocabulary.label[pair.label]
        kinds_NT[n, len(row) - 1] = kinds.index(_kind(pair) if _kind(pair) in kinds else pair.label)
        lengths_N[n] = len(row)
    return Examples(tokens_NT, answers_NT, kinds_NT, lengths_N)


def _some(examples: Examples, chosen_N: Ints) -> Examples:
    """The chosen rows, as int64."""
    sides = (examples.tokens_NT, examples.answers_NT, examples.kinds_NT, examples.lengths_N)
    return Examples(*(side[chosen_N].astype(np.int64) for side in sides))


def _kind(pair: Pair) -> str:
    return pair.direction or "other"


def _open(path: str | None) -> Source:
    """Read the pairs. The kinds are MED's directions if a file has them, else the labels.

    Raises:
        UsageError: if there are no files, fields or pairs.
    """
    where = sides(NAME, path, (".jsonl", ".tsv"))
    train, held_out = split(NAME, where, read, key=lambda pair: pair.premise)
    both = (*train, *held_out)
    labels = tuple(sorted({pair.label for pair in both}, key=_order))
    if len(labels) < 2:
        raise UsageError(f"task {NAME!r}: {path} has no label but {labels[0]!r}: inference needs at least two.")
    kinds = tuple(sorted({_kind(pair) for pair in both})) if any(pair.direction for pair in both) else labels
    vocabulary = Vocabulary(train, labels)
    lengths = [len(vocabulary.row(pair)) for pair in train]
    seq_len = min(MOST_TOKENS, int(np.quantile(lengths, FITTING, method="higher")))
    training = _examples(train, vocabulary, kinds, seq_len)

    def draw(rng: np.random.Generator, n: int) -> Examples:
        return _some(training, rng.integers(0, len(train), n))

    return Source(
        words=vocabulary.words,
        seq_len=seq_len,
        candidates=tuple(vocabulary.label.values()),
        kinds=kinds,
        draw=draw,
        held_out=_some(_examples(held_out, vocabulary, kinds, seq_len), np.arange(len(held_out))),
        sha256=where.sha256,
    )


def _shortcuts(train: Examples, held_out: Examples) -> Mapping[str, float]:
    # `MARK` ends every row, and `HYPOTHESIS` is the token before it in the vocabulary.
    mark = int(held_out.tokens_NT[0, held_out.lengths_N[0] - 1])
    return {
        "majority": rules.majority(train, held_out),
        "bag of words": rules.bag(train, held_out),
        "hypothesis only": rules.bag(train, held_out, rules.after(mark - 1)),
        "single word": rules.cue(train, held_out),
        "single word of the hypothesis": rules.cue(train, held_out, rules.after(mark - 1)),
    }


TASK = Task(open=_open, shortcuts=_shortcuts, needs_path=True, steps=700, batch_size=64)
