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
from task_files import LABELS, gsm8k, med_lines, mnli, snli, squad, write

from modbench.harness.core.contracts import UNASKED, Examples, Source
from modbench.harness.core.errors import UsageError
from modbench.harness.registry import catalogue
from modbench.plugins.tasks.tasks import nli_pairs, qa_pairs
from modbench.plugins.tasks.tasks._files import sides, split


def opened(name: str, path: Path) -> Source:
    source: Source = catalogue.load("tasks", name).open(str(path))
    return source


def texts(source: Source, examples: Examples) -> list[str]:
    return [" ".join(source.words[token] for token in row if token) for row in examples.tokens_NT.tolist()]


def premises(source: Source, examples: Examples) -> set[str]:
    return {text.partition(" <hypothesis> ")[0] for text in texts(source, examples)}


def spoken(source: Source, examples: Examples) -> list[tuple[bytes, bytes]]:
    """Question and answer bytes of every row of byte tokens."""
    found = []
    for row, answers in zip(examples.tokens_NT.tolist(), examples.answers_NT.tolist(), strict=True):
        question = bytes(token - 1 for token in row[: row.index(qa_pairs.MARK)])
        found.append((question, bytes(token - 1 for token in answers if token != UNASKED)))
    assert source.words == qa_pairs.WORDS
    return found


def many(source: Source, n: int = 400) -> Examples:
    return source.draw(np.random.default_rng(0), n)


@pytest.mark.parametrize("record", [snli, mnli])
def test_snli_and_mnli_are_read(record: Callable[[int], dict[str, Any]], tmp_path: Path) -> None:
    source = opened("nli_pairs", write(tmp_path / "pairs.jsonl", [record(i) for i in range(240)]))
    assert source.kinds == LABELS
    assert [source.words[token] for token in source.candidates] == [f"<{label}>" for label in LABELS]
    assert len(source.sha256) == 64
    held_out = source.held_out
    assert np.array_equal(held_out.kinds_NT.max(axis=1) + 1, held_out.answers_NT.max(axis=1))
    assert all(text.startswith(("a dog ", "a cat ", "a horse ", "a goose ")) for text in texts(source, held_out))
    assert all(text.endswith(" <label>") for text in texts(source, held_out))
    assert "isn't" in source.words  # one word
    assert "." in source.words


def test_a_pair_without_gold_label_is_left_out(tmp_path: Path) -> None:
    records = [snli(i) for i in range(240)]
    for i in range(0, 240, 3):
        records[i]["gold_label"] = "-"
    source = opened("nli_pairs", write(tmp_path / "pairs.jsonl", records))
    assert source.kinds == LABELS[1:]  # entailments stood on those lines


def test_med_is_read_by_its_directions(tmp_path: Path) -> None:
    path = tmp_path / "MED.tsv"
    path.write_text("\n".join(med_lines(300)) + "\n", encoding="utf-8")
    source = opened("nli_pairs", path)
    assert source.kinds == ("downward_monotone", "non_monotone", "upward_monotone")
    assert len(source.candidates) == 2
    assert '"' in source.words  # quotation marks are text, not quoting
    kinds = source.held_out.kinds_NT[source.held_out.answers_NT != UNASKED]
    assert set(kinds) == {0, 1, 2}


def test_one_file_is_split_by_premise(tmp_path: Path) -> None:
    source = opened("nli_pairs", write(tmp_path / "pairs.jsonl", [snli(i) for i in range(600)]))
    assert len(source.held_out.lengths_N) % 3 == 0  # three pairs share a premise
    assert 40 <= len(source.held_out.lengths_N) <= 180
    # Streets are rare words that may share a bucket, so the files' own words are compared.
    train, held_out = split(
        "nli_pairs", sides("nli_pairs", str(tmp_path), (".jsonl",)), nli_pairs.read, lambda pair: pair.premise
    )
    assert {pair.premise for pair in train}.isdisjoint(pair.premise for pair in held_out)
    assert len(train) + len(held_out) == 600


def test_words_are_the_training_sides(tmp_path: Path) -> None:
    folder = tmp_path / "snli"
    folder.mkdir()
    write(folder / "snli_1.0_test.jsonl", [snli(i) for i in range(60)])
    unseen = [{**snli(i), "sentence1": f"Zebras graze quietly {i}."} for i in range(30)]
    write(folder / "snli_1.0_dev.jsonl", unseen)
    source = opened("nli_pairs", folder)
    assert len(source.held_out.lengths_N) == 30
    assert "zebras" not in source.words
    assert all("<rare" in premise for premise in premises(source, source.held_out))
    assert not any("<rare" in premise for premise in premises(source, many(source)))  # the same digits, all seen twice


FOLDERS = [
    ({"a_dev.jsonl", "a_test.jsonl", "a_train.jsonl"}, {"a_train.jsonl"}, {"a_dev.jsonl"}),
    ({"a_dev.jsonl", "a_test.jsonl"}, {"a_test.jsonl"}, {"a_dev.jsonl"}),
    ({"train-2000.jsonl", "test.jsonl"}, {"train-2000.jsonl"}, {"test.jsonl"}),
    ({"m_dev_matched.jsonl", "m_dev_mismatched.jsonl", "m_train.jsonl"}, {"m_train.jsonl"}, 2),
    ({"validation.jsonl", "more.jsonl"}, {"more.jsonl"}, {"validation.jsonl"}),
    ({"valid.jsonl", "x.jsonl"}, {"x.jsonl"}, {"valid.jsonl"}),
    ({"x.jsonl", "y.jsonl"}, {"x.jsonl", "y.jsonl"}, set()),
    ({"devices.jsonl", "y.jsonl"}, {"devices.jsonl", "y.jsonl"}, set()),
    ({"dev.jsonl"}, {"dev.jsonl"}, set()),
]


@pytest.mark.parametrize(("files", "train", "held_out"), FOLDERS)
def test_file_names_say_which_side_they_are_on(
    files: set[str], train: set[str], held_out: set[str] | int, tmp_path: Path
) -> None:
    for name in files:
        (tmp_path / name).write_text("{}")
    (tmp_path / "README.md").write_text("no data")
    found = sides("nli_pairs", str(tmp_path), (".jsonl",))
    assert {file.name for file in found.train} == train
    if isinstance(held_out, int):
        assert len(found.held_out) == held_out
    else:
        assert {file.name for file in found.held_out} == held_out


def test_what_is_held_out_is_not_trained_on_though_both_files_have_it(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", [gsm8k(i) for i in range(50)])
    write(tmp_path / "test.jsonl", [gsm8k(i) for i in range(40, 60)])
    source = opened("qa_pairs", tmp_path)
    held_out = {question for question, _ in spoken(source, source.held_out)}
    assert len(held_out) == 20
    assert held_out.isdisjoint(question for question, _ in spoken(source, many(source)))


def test_the_hash_is_of_the_content(tmp_path: Path) -> None:
    hashes = []
    for name, count in (("a", 120), ("b", 120), ("c", 121)):
        (tmp_path / name).mkdir()
        hashes.append(opened("qa_pairs", write(tmp_path / name / "x.jsonl", [gsm8k(i) for i in range(count)])).sha256)
    assert hashes[0] == hashes[1] != hashes[2]
    one = hashlib.sha256((tmp_path / "a" / "x.jsonl").read_bytes()).hexdigest()
    assert hashes[0] == hashlib.sha256(one.encode()).hexdigest()


def test_many_held_out_examples_are_thinned_evenly(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", [gsm8k(i) for i in range(10_000, 10_050)])
    write(tmp_path / "dev.jsonl", [gsm8k(i) for i in range(5000)])
    source = opened("qa_pairs", tmp_path)
    numbers = [int(question.split()[2]) for question, _ in spoken(source, source.held_out)]
    assert len(numbers) == 2000
    assert (numbers[0], numbers[-1]) == (0, 4999)
    assert max(np.diff(numbers)) <= 3


def test_gsm8k_is_read_with_its_result_apart(tmp_path: Path) -> None:
    source = opened("qa_pairs", write(tmp_path / "x.jsonl", [gsm8k(i) for i in range(120)]))
    known = {gsm8k(i)["question"].encode(): gsm8k(i)["answer"].encode() for i in range(120)}
    for examples in (source.held_out, many(source, 50)):
        for question, answer in spoken(source, examples):
            assert known[question] == answer
        for answers, kinds in zip(examples.answers_NT, examples.kinds_NT, strict=True):
            asked = answers != UNASKED
            apart = [source.kinds[kind] == "result" for kind in kinds[asked]]
            text = bytes((answers[asked] - 1).tolist())
            assert bytes(byte for byte, result in zip(text, apart, strict=True) if result) == text.split(b"#### ")[1]


@pytest.mark.parametrize("fields", [("question", "answer"), ("prompt", "completion")])
def test_plain_lines_are_read(fields: tuple[str, str], tmp_path: Path) -> None:
    records = [dict(zip(fields, (f"Wie heißt Nummer {i}?", f"Zoë {i}"), strict=True)) for i in range(60)]
    source = opened("qa_pairs", write(tmp_path / "x.jsonl", records))
    for question, answer in spoken(source, many(source, 20)):
        number = question.decode().removeprefix("Wie heißt Nummer ").removesuffix("?")
        assert answer.decode() == f"Zoë {number}"


def test_squad_is_read_and_split_by_context(tmp_path: Path) -> None:
    path = tmp_path / "dev-v2.0.json"
    path.write_text(json.dumps(squad(60)), encoding="utf-8")
    source = opened("qa_pairs", path)
    held_out, train = spoken(source, source.held_out), spoken(source, many(source))
    assert len({question for question, _ in (*held_out, *train)}) == 60  # unanswered ones are left out
    for question, answer in held_out:
        number = int(question.split()[1])
        assert question == f"Town {number} has {number} bridges.\nHow many?".encode()
        assert answer == f"{number} bridges".encode()


@pytest.mark.parametrize("listed", [True, False])
def test_flat_squad_is_read_too(listed: bool, tmp_path: Path) -> None:
    """Its answers are a list, or one whole text."""
    told = [(f"It is {i}.", {"text": [f"{i}"] if listed else f"{i}"}) for i in range(60)]
    records = [{"context": context, "question": "What?", "answers": answers} for context, answers in told]
    source = opened("qa_pairs", write(tmp_path / "x.jsonl", records))
    for question, answer in spoken(source, many(source, 9)):
        assert question == f"It is {answer.decode()}.\nWhat?".encode()


@given(question=st.integers(1, 900), answer=st.integers(1, 900))
def test_what_is_too_long_is_cut_at_the_left_of_the_question_first(question: int, answer: int) -> None:
    pair = qa_pairs.Pair(bytes(i % 251 for i in range(question)), bytes(i % 241 for i in range(answer)), "")
    most = qa_pairs.MOST_TOKENS
    examples = qa_pairs.encoded([pair], most).some(np.array([0]))
    row, asked = examples.tokens_NT[0], examples.answers_NT[0] != UNASKED
    mark = row.tolist().index(qa_pairs.MARK)
    assert pair.question.endswith(bytes((row[:mark] - 1).tolist()))
    assert pair.answer.startswith(kept := bytes((examples.answers_NT[0][asked] - 1).tolist()))
    assert examples.lengths_N[0] == min(question + answer, most)
    assert mark >= min(question, qa_pairs.LEAST_QUESTION)
    assert len(kept) == min(answer, most - min(question, qa_pairs.LEAST_QUESTION))
    cut = question + answer > most
    assert set(examples.kinds_NT[0][asked]) == {qa_pairs.KINDS.index("answer, cut" if cut else "answer")}


def test_a_long_premise_loses_its_beginning(tmp_path: Path) -> None:
    records = [snli(i) for i in range(240)]
    for record in records:
        record["sentence1"] = "very " * 200 + record["sentence1"]
    source = opened("nli_pairs", write(tmp_path / "pairs.jsonl", records))
    assert source.seq_len == nli_pairs.MOST_TOKENS
    for text in texts(source, source.held_out):
        assert text.startswith("very ")
        assert " . <hypothesis> the " in text
        assert text.endswith(". <label>")


def test_a_rare_word_is_seen_to_stand_in_both_sentences(tmp_path: Path) -> None:
    records = [{**snli(i), "sentence1": f"Word{i} comes.", "sentence2": f"Word{i} stays."} for i in range(240)]
    for record in records[1::3]:  # the neutral ones
        record["sentence2"] = record["sentence2"].replace("Word", "Once")
    source = opened("nli_pairs", write(tmp_path / "pairs.jsonl", records))
    shared = []
    for text, answers in zip(texts(source, source.held_out), source.held_out.answers_NT, strict=True):
        first, second = text.split()[0], text.partition(" <hypothesis> ")[2].split()[0]
        assert first.startswith("<rare")
        if source.words[answers.max()] == "<neutral>":
            shared.append(first == second)
        else:
            assert first == second
    assert np.mean(shared) < 0.2  # buckets are few


ERRORS = {
    "nli_pairs": [
        (None, "None has no .jsonl or .tsv file. Name"),
        ("missing.jsonl", "cannot be read: No such file or directory"),
        ("empty", "has no .jsonl or .tsv file. Name a .jsonl or .tsv file, or a folder of such: --set tasks.paths"),
        ("other.jsonl", "lacks text in one of sentence1, sentence2, gold_label"),
        ("list.jsonl", "lacks text in one of sentence1, sentence2, gold_label"),
        ("broken.jsonl", "cannot be read as jsonl: line 2: "),
        ("deep.jsonl", "cannot be read as jsonl"),
        ("long.tsv", "cannot be read as tsv: field larger"),
        ("single.jsonl", "has no label but 'neutral'"),
        ("latin.jsonl", "cannot be read as jsonl"),
        ("ungold.jsonl", "leaves 0 examples"),
        ("blank.jsonl", "leaves 0 examples"),
    ],
    "qa_pairs": [
        (None, "None has no .jsonl or .json file. Name"),
        ("missing.jsonl", "cannot be read: No such file or directory"),
        ("empty", "has no .jsonl or .json file. Name a .jsonl or .json file, or a folder of such: --set tasks.paths"),
        ("other.jsonl", "neither question and answer, nor prompt and completion, nor SQuAD's data"),
        ("list.jsonl", "neither question and answer"),
        ("number.jsonl", "neither question and answer"),
        ("context.jsonl", "neither question and answer"),
        ("broken.jsonl", "cannot be read as jsonl"),
        ("broken.json", "cannot be read as json"),
        ("blank.jsonl", "leaves 0 examples"),
    ],
}


@pytest.mark.parametrize(("name", "file", "said"), [(name, *case) for name, cases in ERRORS.items() for case in cases])
def test_files_that_are_no_use_are_said_so(name: str, file: str | None, said: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other.jsonl").write_text('{"text": "hello", "title": "x"}\n')
    (tmp_path / "list.jsonl").write_text('["question", "answer"]\n')
    (tmp_path / "number.jsonl").write_text('{"question": "How many?", "answer": 3}\n')
    (tmp_path / "broken.jsonl").write_text('\n{"question": \n')
    (tmp_path / "deep.jsonl").write_text("[" * 100_000)
    (tmp_path / "long.tsv").write_text("sentence1\tsentence2\tgold_label\n" + "a" * 200_000)
    (tmp_path / "context.jsonl").write_text('{"context": 5, "question": "How many?", "answers": {"text": ["a"]}}\n')
    write(tmp_path / "single.jsonl", [{**snli(i), "gold_label": "neutral"} for i in range(90)])
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "latin.jsonl").write_bytes('{"sentence1": "Zoë"}\n'.encode("latin-1"))
    (tmp_path / "blank.jsonl").write_text("\n\n")
    write(tmp_path / "ungold.jsonl", [{**snli(i), "gold_label": "-"} for i in range(9)])
    path = None if file is None else str(tmp_path / file)
    with pytest.raises(UsageError, match=said) as raised:
        catalogue.load("tasks", name).open(path)
    text = str(raised.value)
    assert text.startswith(f"task {name!r}: ")
    assert text.endswith(".")
    assert "\n" not in text
    assert len(text) < 330 + len(str(tmp_path))


def test_held_out_questions_may_be_longer_than_all_that_was_trained_on(tmp_path: Path) -> None:
    """Their beginnings go, and what is left of the answer is asked."""
    write(tmp_path / "train.jsonl", [{"question": f"q{i}?", "answer": "yes"} for i in range(60)])
    dev = [{"question": f"{i} " * 50, "answer": "a long answer " * i} for i in range(1, 9)]
    write(tmp_path / "dev.jsonl", dev)
    source = opened("qa_pairs", tmp_path)
    assert source.seq_len == 7
    assert ((source.held_out.answers_NT != UNASKED).sum(axis=1) == 4).all()
    assert (source.held_out.lengths_N == 7).all()


@pytest.mark.parametrize("name", ["nli_pairs", "qa_pairs"])
def test_half_of_a_surrogate_pair_is_no_trouble(name: str, tmp_path: Path) -> None:
    """JSON may escape one; UTF-8 has none."""
    qa = [{"question": f"what {i} \ud800", "answer": "this\ud800"} for i in range(240)]
    write(tmp_path / "pairs.jsonl", [qa[i] | {**snli(i), "sentence1": f"{i} \ud800"} for i in range(240)])
    assert opened(name, tmp_path / "pairs.jsonl").held_out.tokens_NT.any()
