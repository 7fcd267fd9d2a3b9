"""Tasks by path: formats, which file is held out, what is cut, and what is said of files that are no use."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from task_files import LABELS, gsm8k, med, opened, read, snli, squad, write

from modbench.harness.core.contracts import UNASKED, Examples, Source
from modbench.harness.core.errors import UsageError
from modbench.harness.registry import catalogue
from modbench.plugins.tasks.tasks import nli_pairs, qa_pairs
from modbench.plugins.tasks.tasks._files import sides, split


def drawn(source: Source) -> Examples:
    return source.draw(np.random.default_rng(0), 500)


def pairs_of(source: Source, examples: Examples) -> list[tuple[str, str]]:
    """Premise and hypothesis of every row of words."""
    rows = [" ".join(source.words[token] for token in row if token) for row in examples.tokens_NT.tolist()]
    return [(row.partition(" <hypothesis> ")[0], row.partition(" <hypothesis> ")[2]) for row in rows]


def spoken(examples: Examples) -> list[tuple[str, str]]:
    """Question and answer of every row of bytes."""
    found = []
    for row, answers in zip(examples.tokens_NT.tolist(), examples.answers_NT.tolist(), strict=True):
        question = bytes(token - 1 for token in row[: row.index(qa_pairs.MARK)])
        found.append((question.decode(), bytes(token - 1 for token in answers if token != UNASKED).decode()))
    return found


# --- formats


def test_snli_is_read(tmp_path: Path) -> None:
    source = opened("nli_pairs", tmp_path)
    assert source.kinds == LABELS
    assert [source.words[token] for token in source.candidates] == [f"<{label}>" for label in LABELS]
    held_out = source.held_out
    assert np.array_equal(held_out.kinds_NT.max(axis=1) + 1, held_out.answers_NT.max(axis=1))
    for premise, hypothesis in pairs_of(source, held_out):
        assert premise.startswith(("a dog ", "a cat ", "a horse ", "a goose "))
        assert hypothesis.endswith(" <label>")
    assert {"isn't", "."} <= {*source.words}  # one word, and a word


def test_med_is_read_by_its_directions(tmp_path: Path) -> None:
    (tmp_path / "MED.tsv").write_text(med(300), encoding="utf-8")
    source = read("nli_pairs", tmp_path / "MED.tsv")
    assert source.kinds == ("downward_monotone", "non_monotone", "upward_monotone")
    assert len(source.candidates) == 2
    assert '"' in source.words  # quotation marks are text, not quoting
    assert {*source.held_out.kinds_NT[source.held_out.answers_NT != UNASKED]} == {0, 1, 2}


def gsm8k_pair(i: int) -> tuple[str, str]:
    return gsm8k(i)["question"], gsm8k(i)["answer"]


# Of a format: its file, its record (SQuAD has one of all), and the question and answer that are read.
FORMATS: dict[str, tuple[str, Callable[[int], Any], Callable[[int], tuple[str, str]]]] = {
    "GSM8K": ("x.jsonl", gsm8k, gsm8k_pair),
    "prompt and completion": (
        "x.jsonl",
        lambda i: {"prompt": f"Wie heißt {i}?", "completion": f"Zoë {i}"},
        lambda i: (f"Wie heißt {i}?", f"Zoë {i}"),
    ),
    "SQuAD": (
        "dev-v2.0.json",
        lambda _: squad(60),
        lambda i: (f"Town {i} has {i} bridges.\nHow many?", f"{i} bridges"),
    ),
    "SQuAD, a record a question": (
        "x.jsonl",
        lambda i: {"context": f"It is {i}.", "question": "What?", "answers": {"text": [f"{i}"]}},
        lambda i: (f"It is {i}.\nWhat?", f"{i}"),
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_questions_and_answers_are_read_and_no_context_is_on_both_sides(name: str, tmp_path: Path) -> None:
    file, record, pair = FORMATS[name]
    source = read("qa_pairs", write(tmp_path / file, [record(i) for i in range(1 if name == "SQuAD" else 60)]))
    assert source.words == qa_pairs.WORDS
    held_out, train = {*spoken(source.held_out)}, {*spoken(drawn(source))}
    assert held_out | train == {pair(i) for i in range(60)}
    assert held_out.isdisjoint(train)


def test_the_result_of_gsm8k_is_a_kind_of_its_own(tmp_path: Path) -> None:
    source = opened("qa_pairs", tmp_path)
    for examples in (source.held_out, drawn(source)):
        for answers, kinds in zip(examples.answers_NT, examples.kinds_NT, strict=True):
            asked = answers != UNASKED
            apart = [source.kinds[kind] == "result" for kind in kinds[asked]]
            text = bytes((answers[asked] - 1).tolist())
            assert bytes(byte for byte, result in zip(text, apart, strict=True) if result) == text.split(b"#### ")[1]


# --- sides


@pytest.mark.parametrize(
    ("files", "train", "held_out"),
    [
        ("a_dev a_test a_train", "a_train", "a_dev"),
        ("a_dev a_test", "a_test", "a_dev"),
        ("train-2000 test", "train-2000", "test"),
        ("m_dev_matched m_dev_mismatched m_train", "m_train", "m_dev_matched m_dev_mismatched"),
        ("devices y", "devices y", ""),
        ("dev", "dev", ""),
    ],
)
def test_file_names_say_which_side_they_are_on(files: str, train: str, held_out: str, tmp_path: Path) -> None:
    for name in files.split():
        (tmp_path / f"{name}.jsonl").write_text("{}")
    (tmp_path / "README.md").write_text("no data")
    found = sides("nli_pairs", str(tmp_path), (".jsonl",))
    assert [{file.stem for file in side} for side in (found.train, found.held_out)] == [
        {*train.split()},
        {*held_out.split()},
    ]


def test_one_file_is_split_by_premise(tmp_path: Path) -> None:
    """Streets are rare words that may share a bucket, so the files' own words are compared."""
    write(tmp_path / "pairs.jsonl", [snli(i) for i in range(600)])
    files = sides("nli_pairs", str(tmp_path), (".jsonl",))
    train, held_out = split("nli_pairs", files, nli_pairs.read, lambda pair: pair.premise)
    assert {pair.premise for pair in train}.isdisjoint(pair.premise for pair in held_out)
    assert len(train) + len(held_out) == 600
    assert 40 <= len(held_out) <= 180


def test_what_is_held_out_is_not_trained_on_though_both_files_have_it(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", [gsm8k(i) for i in range(50)])
    write(tmp_path / "test.jsonl", [gsm8k(i) for i in range(40, 60)])
    source = read("qa_pairs", tmp_path)
    assert spoken(source.held_out) == [gsm8k_pair(i) for i in range(40, 60)]
    assert {*spoken(drawn(source))} == {gsm8k_pair(i) for i in range(40)}


def test_words_are_the_training_sides(tmp_path: Path) -> None:
    write(tmp_path / "snli_1.0_test.jsonl", [snli(i) for i in range(60)])
    unseen = [snli(i, sentence1=f"Zebras graze quietly {i}.") for i in range(30)]
    write(tmp_path / "snli_1.0_dev.jsonl", unseen)
    source = read("nli_pairs", tmp_path)
    assert len(source.held_out.lengths_N) == 30
    assert "zebras" not in source.words
    assert all("<rare" in premise for premise, _ in pairs_of(source, source.held_out))
    assert not any("<rare" in premise for premise, _ in pairs_of(source, drawn(source)))


def test_the_hash_is_of_the_content(tmp_path: Path) -> None:
    one, same, other = (write(tmp_path / f"{i}.jsonl", [gsm8k(i) for i in range(120 + i // 2)]) for i in range(3))
    hashes = [read("qa_pairs", file).sha256 for file in (one, same, other)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert hashes[0] == hashlib.sha256(hashlib.sha256(one.read_bytes()).hexdigest().encode()).hexdigest()


# --- what is cut


@given(question=st.integers(1, 900), answer=st.integers(1, 900))
def test_what_is_too_long_is_cut_at_the_left_of_the_question_first(question: int, answer: int) -> None:
    pair = qa_pairs.Pair(bytes(i % 251 for i in range(question)), bytes(i % 241 for i in range(answer)), "")
    most, least = qa_pairs.MOST_TOKENS, min(question, qa_pairs.LEAST_QUESTION)
    examples = qa_pairs.encoded([pair], most).some(np.array([0]))
    row, asked = examples.tokens_NT[0], examples.answers_NT[0] != UNASKED
    mark = row.tolist().index(qa_pairs.MARK)
    kept = bytes((examples.answers_NT[0][asked] - 1).tolist())
    assert pair.question.endswith(bytes((row[:mark] - 1).tolist()))
    assert pair.answer.startswith(kept)
    assert examples.lengths_N[0] == min(question + answer, most)
    assert mark >= least
    assert len(kept) == min(answer, most - least)
    cut = question + answer > most
    assert {*examples.kinds_NT[0][asked]} == {qa_pairs.KINDS.index("answer, cut" if cut else "answer")}


# --- files that are no use

FILES: dict[str, bytes] = {
    "other.jsonl": b'{"text": "hello", "title": "x"}\n',
    "broken.jsonl": b'\n{"question": \n',
    "broken.json": b"{",
    "deep.jsonl": b"[" * 100_000,
    "long.tsv": b"sentence1\tsentence2\tgold_label\n" + b"a" * 200_000,
    "single.jsonl": "".join(json.dumps(snli(i, gold_label="neutral")) + "\n" for i in range(90)).encode(),
    "ungold.jsonl": "".join(json.dumps(snli(i, gold_label="-")) + "\n" for i in range(9)).encode(),
}


@pytest.mark.parametrize(
    ("name", "file", "said"),
    [
        (
            "nli_pairs",
            "",
            "has no .jsonl or .tsv file. Name a .jsonl or .tsv file, or a folder of such: --set tasks.paths",
        ),
        ("nli_pairs", "missing.jsonl", "cannot be read: No such file or directory"),
        ("nli_pairs", "other.jsonl", "lacks text in one of sentence1, sentence2, gold_label"),
        ("nli_pairs", "broken.jsonl", "cannot be read as jsonl: line 2: "),
        ("nli_pairs", "deep.jsonl", "cannot be read as jsonl"),
        ("nli_pairs", "long.tsv", "cannot be read as tsv: field larger"),
        ("nli_pairs", "single.jsonl", "has no label but 'neutral'"),
        ("qa_pairs", "other.jsonl", "neither question and answer, nor prompt and completion, nor SQuAD's data"),
        ("qa_pairs", "broken.json", "cannot be read as json"),
    ],
)
def test_files_that_are_no_use_are_said_so(name: str, file: str, said: str, tmp_path: Path) -> None:
    if file in FILES:
        (tmp_path / file).write_bytes(FILES[file])
    with pytest.raises(UsageError, match=said) as raised:
        catalogue.load("tasks", name).open(str(tmp_path / file))
    assert str(raised.value).startswith(f"task {name!r}: ")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 330 + len(str(tmp_path))
