"""Question answering from your files, byte by byte: GSM8K or question and answer (jsonl), SQuAD (json); a file or a folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modbench.extend import UNASKED, Examples, Source, Task, UsageError
from modbench.plugins.tasks.tasks import _shortcuts as rules
from modbench.plugins.tasks.tasks._build import PAD, Ints
from modbench.plugins.tasks.tasks._files import records, sides, split

NAME = "qa_pairs"
# A byte's token is its value + 1; pads are 0; a mark separates question and answer.
MARK = 257
WORDS = (PAD, *(chr(i) if 32 < i < 127 else f"<{i:02x}>" for i in range(256)), "<answer>")
# Longer examples are cut: first the start of the question, down to `LEAST_QUESTION` bytes, then the end of the answer. Bytes of
# cut examples are kinds of their own, so their number and accuracy are reported separately.
MOST_TOKENS, LEAST_QUESTION = 512, 64
# GSM8K writes its result after this.
RESULT = b"####"
KINDS = ("answer", "answer, cut", "result", "result, cut")


class Pair(NamedTuple):
    """A question, its answer, and the key of the split: the text that the question is about, or else the question."""

    question: bytes
    answer: bytes
    about: str


def read(file: Path) -> Iterator[Pair]:
    """The pairs of a file; questions without an answer are skipped.

    Raises:
        UsageError: if a record has no recognised fields.
    """
    for record in records(NAME, file):
        try:
            yield from _pairs(record)
        except (KeyError, TypeError, AttributeError):
            fields = ", ".join(map(str, record)) if isinstance(record, dict) else repr(record)
            raise UsageError(
                f"task {NAME!r}: a record of {file} has text in neither question and answer, nor prompt and completion, nor "
                f"SQuAD's data. It has: {fields[:200]}."
            ) from None


def _pairs(record: Mapping[str, Any]) -> Iterator[Pair]:
    if "data" in record:
        for article in record["data"]:
            for paragraph in article["paragraphs"]:
                for asked in paragraph["qas"]:
                    texts = [answer["text"] for answer in asked["answers"]]
                    yield from _pair(asked["question"], texts, paragraph["context"])
    elif "context" in record:  # SQuAD with one question per record
        texts = record["answers"]["text"]
        yield from _pair(record["question"], [texts] if isinstance(texts, str) else texts, record["context"])
    elif "prompt" in record:
        yield from _pair(record["prompt"], [record["completion"]])
    else:
        yield from _pair(record["question"], [record["answer"]])


def _pair(question: str, answers: list[str], context: str = "") -> Iterator[Pair]:
    """The first answer, if it is not empty."""
    if not all(isinstance(text, str) for text in (question, context, *answers)):
        raise TypeError("not text")
    if answers and answers[0]:
        text = f"{context}\n{question}" if context else question
        asked, answer = (side.encode("utf-8", "surrogatepass") for side in (text, answers[0]))
        yield Pair(asked, answer, context or question)


@dataclass(frozen=True)
class Bytes:
    """Pairs as rows, with one more column than a sequence has, since the last byte is only an answer.

    Attributes:
        tokens_NW: int16, [N, seq_len + 1].
        mark_N: position of the mark.
        length_N: number of tokens, the whole answer included.
        result_N: first position at which the result is asked.
        cut_N: whether the pair was cut.
    """

    tokens_NW: NDArray[np.int16]
    mark_N: Ints
    length_N: Ints
    result_N: Ints
    cut_N: Ints

    def some(self, chosen_N: Ints) -> Examples:
        """The chosen rows: every byte after the mark is asked."""
        tokens_NW = self.tokens_NW[chosen_N].astype(np.int64)
        at_T = np.arange(tokens_NW.shape[1] - 1)
        mark_N1, last_N1, result_N1 = (
            side_N[chosen_N, None] for side_N in (self.mark_N, self.length_N - 1, self.result_N)
        )
        asked_NT = (at_T >= mark_N1) & (at_T < last_N1)
        answers_NT = np.where(asked_NT, tokens_NW[:, 1:], UNASKED)
        kinds_NT = asked_NT * (2 * (at_T >= result_N1) + self.cut_N[chosen_N, None])
        tokens_NT = np.where(at_T < last_N1, tokens_NW[:, :-1], 0)
        return Examples(tokens_NT, answers_NT, kinds_NT, last_N1[:, 0])


def encoded(pairs: list[Pair], seq_len: int) -> Bytes:
    """Encode pairs as rows of at most `seq_len` input tokens."""
    tokens_NW = np.zeros((len(pairs), seq_len + 1), dtype=np.int16)
    numbers_N4 = np.zeros((len(pairs), 4), dtype=np.int64)
    for n, pair in enumerate(pairs):
        # Held-out questions may be longer than all training questions: they get at most half of a short row.
        answer = pair.answer[: seq_len - min(len(pair.question), LEAST_QUESTION, seq_len // 2)]
        question = pair.question[-(seq_len - len(answer)) :] if len(answer) < seq_len else b""
        length = len(question) + 1 + len(answer)
        tokens_NW[n, : len(question)] = np.frombuffer(question, dtype=np.uint8)
        tokens_NW[n, len(question) + 1 : length] = np.frombuffer(answer, dtype=np.uint8)
        tokens_NW[n, :length] += 1
        tokens_NW[n, len(question)] = MARK
        found = answer.find(RESULT)
        # After "#### ": byte found + 5 of the answer is asked one position earlier, and the mark shifts it by one.
        result = len(question) + found + len(RESULT) + 1 if found >= 0 else length
        numbers_N4[n] = len(question), length, result, length < len(pair.question) + 1 + len(pair.answer)
    return Bytes(tokens_NW, *numbers_N4.T)


def _open(path: str | None) -> Source:
    """Read the pairs. The sequence length is that of the longest training pair, at most `MOST_TOKENS`.

    Raises:
        UsageError: if there are no files, fields or pairs.
    """
    where = sides(NAME, path, (".jsonl", ".json"))
    train, held_out = split(NAME, where, read, key=lambda pair: pair.about)
    seq_len = min(MOST_TOKENS, max(len(pair.question) + len(pair.answer) for pair in train))
    training = encoded(train, seq_len)

    def draw(rng: np.random.Generator, n: int) -> Examples:
        return training.some(rng.integers(0, len(train), n))

    return Source(
        words=WORDS,
        seq_len=seq_len,
        candidates=tuple(range(1, MARK)),
        kinds=KINDS,
        draw=draw,
        held_out=encoded(held_out, seq_len).some(np.arange(len(held_out))),
        sha256=where.sha256,
    )


def _shortcuts(train: Examples, held_out: Examples) -> Mapping[str, float]:
    return {
        "majority": rules.majority(train, held_out),
        "by the last byte": rules.last(train, held_out),
        "by the last two bytes": rules.last(train, held_out, 2),
        "by the last three bytes": rules.last(train, held_out, 3),
        "by the last four bytes": rules.last(train, held_out, 4),
    }


TASK = Task(open=_open, shortcuts=_shortcuts, needs_path=True, steps=100)
