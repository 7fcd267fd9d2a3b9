"""Small files of our own in the formats that tasks read by path, and those tasks opened on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from modbench.harness.core.contracts import Source
from modbench.harness.registry import catalogue

LABELS = ("entailment", "neutral", "contradiction")
MED_COLUMNS = ("index", "genre", "sentence1", "sentence2", "label1", "gold_label")


def snli(i: int) -> dict[str, Any]:
    """A pair as SNLI writes it; three pairs share a premise."""
    animal = ("dog", "cat", "horse", "goose")[i // 3 % 4]
    return {
        "annotator_labels": [LABELS[i % 3]],
        "gold_label": LABELS[i % 3],
        "pairID": f"{i}#0",
        "sentence1": f"A {animal} crosses street {i // 3}.",
        "sentence2": f"The {animal} isn't at home, {i % 5}.",
    }


def mnli(i: int) -> dict[str, Any]:
    """A pair as MNLI writes it."""
    return {**snli(i), "genre": "fiction", "promptID": str(i)}


def med_lines(count: int) -> list[str]:
    """A table as MED writes it."""
    rows = ["\t".join(MED_COLUMNS)]
    for i in range(count):
        genre = ("crowd:upward_monotone:npi", "paper:downward_monotone", "paper:GLUE:non_monotone")[i % 3]
        cells = (str(i), genre, f'Every "guest" {i} ate.', "Some guest ate.", "", LABELS[i % 2])
        rows.append("\t".join(cells))
    return rows


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


def opened(name: str, folder: Path) -> Source:
    """A task's source; one that needs a path gets a file of its own format."""
    if name == "nli_pairs":
        path = str(write(folder / "pairs.jsonl", [snli(i) for i in range(240)]))
    elif name == "qa_pairs":
        path = str(write(folder / "answers.jsonl", [gsm8k(i) for i in range(120)]))
    else:
        assert not catalogue.load("tasks", name).needs_path, f"{name}: give it a small file here"
        return catalogue.load("tasks", name).open(None)  # type: ignore[no-any-return]  # the catalogue knows no types
    return catalogue.load("tasks", name).open(path)  # type: ignore[no-any-return]  # as above
