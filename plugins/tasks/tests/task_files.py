"""Small files of our own in the formats that tasks read by path, and those tasks opened on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from modbench.harness.core.contracts import Source
from modbench.harness.registry import catalogue

LABELS = ("entailment", "neutral", "contradiction")


def snli(i: int, **changes: Any) -> dict[str, Any]:
    """A pair as SNLI writes it; three pairs share a premise."""
    animal = ("dog", "cat", "horse", "goose")[i // 3 % 4]
    return {
        "annotator_labels": [LABELS[i % 3]],
        "gold_label": LABELS[i % 3],
        "pairID": f"{i}#0",
        "sentence1": f"A {animal} crosses street {i // 3}.",
        "sentence2": f"The {animal} isn't at home, {i % 5}.",
        **changes,
    }


def med(count: int) -> str:
    """A table as MED writes it."""
    rows = ["index\tgenre\tsentence1\tsentence2\tlabel1\tgold_label"]
    for i in range(count):
        genre = ("crowd:upward_monotone:npi", "paper:downward_monotone", "paper:GLUE:non_monotone")[i % 3]
        rows.append(f'{i}\t{genre}\tEvery "guest" {i} ate.\tSome guest ate.\t\t{LABELS[i % 2]}')
    return "\n".join(rows) + "\n"


def gsm8k(i: int) -> dict[str, str]:
    """A pair as GSM8K writes it."""
    return {
        "question": f"Ida has {i} pens and buys 2. How many?",
        "answer": f"{i}+2=<<{i}+2={i + 2}>>{i + 2}\n#### {i + 2}",
    }


def squad(contexts: int) -> dict[str, Any]:
    """Articles as SQuAD writes them: two questions a paragraph, the second without an answer."""
    paragraphs = [
        {
            "context": f"Town {i} has {i} bridges.",
            "qas": [
                {"id": f"{i}a", "question": "How many?", "answers": [{"text": f"{i} bridges", "answer_start": 0}]},
                {"id": f"{i}b", "question": "Why?", "answers": []},
            ],
        }
        for i in range(contexts)
    ]
    return {"version": "1", "data": [{"title": "Towns", "paragraphs": paragraphs}]}


def write(path: Path, records: list[Any]) -> Path:
    """Lines of JSON."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def read(name: str, path: Path) -> Source:
    """A task's source from a file or folder."""
    source: Source = catalogue.load("tasks", name).open(str(path))
    return source


def opened(name: str, folder: Path) -> Source:
    """The source of a task that needs a path, on a file of its own format."""
    records = {"nli_pairs": [snli(i) for i in range(240)], "qa_pairs": [gsm8k(i) for i in range(120)]}
    return read(name, write(folder / "pairs.jsonl", records[name]))
