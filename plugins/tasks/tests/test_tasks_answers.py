"""Answers that are right: solvers that read nothing but the words agree with every answer; labels of inferences, by hand."""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from modbench.harness.core.contracts import UNASKED, Examples, Source
from modbench.harness.registry import catalogue
from modbench.plugins.tasks.evaluation import rows_of


def copy(text: str) -> str:
    symbols, _, again = text.partition("|")
    return symbols.split()[len(again.split())]


def recall(text: str) -> str:
    words = text.split()
    return words[words.index(words[-1]) + 1]


def last_word(text: str) -> str:
    return text.rpartition(" ")[2]


def told(pattern: str, text: str) -> dict[str, str]:
    """What the text says of whom; what is said later stands."""
    return dict(re.findall(pattern, text))


def retrieval(text: str) -> str:
    return told(r"! (k\d+) (v\d+)", text)[last_word(text)]


def qa_yesno(text: str) -> str:
    facts = set(re.findall(r"the (\w+) (\w+)ed the (\w+) \.", text))
    (question,) = re.findall(r"did the (\w+) (\w+) the (\w+)$", text)
    return "yes" if question in facts else "no"


def qa_where(text: str) -> str:
    return told(r"(\w+) (?:went|walked|ran) to the (\w+) \.", text)[last_word(text)]


def holder(text: str) -> str:
    """Who took the thing that is asked for."""
    holders: dict[str, str] = {thing: person for person, thing in re.findall(r"(\w+) took the (\w+) \.", text)}
    return holders[last_word(text)]


def qa_two_facts(text: str) -> str:
    return told(r"(\w+) went to the (\w+) \.", text)[holder(text)]


# Pairs of each template and label: A to D are people, v is what they did, p to r are what somebody did alone.
INFERENCES = {
    "the A v the B but never the C . the A v the B": "entailment",
    "the A never v the B but v the C . the A v the B": "contradiction",
    "the A v the B but never the C . the C v the A": "neutral",
    "the A was never v by the B but by the C . the C v the A": "entailment",
    "the A v the B but never the C . the C was v by the A": "contradiction",
    "not the A but the B and the C v the D . the B v the D": "entailment",
    "the A v not the B but the C and the D . the A v the B": "contradiction",
    "near the A the B v the C but never the D . the B v the C": "entailment",
    "near the A the B v the C but never the D . the A v the C": "neutral",
    "some A v the B , no A the C , every A the D . every A v the B": "neutral",
    "some A v the B , no A the C , every A the D . some A v the D": "entailment",
    "some A v the B , no A the C , every A the D . no A v the B": "contradiction",
    "the A p . the B q but the C never r if the A p . the B q": "entailment",
    "the A p . the B q but the C never r if the A p . the C r": "contradiction",
    "if the A p , the B q but the C never r . the B p . the B q": "neutral",
}


SOLVERS: dict[str, Callable[[str], str]] = {
    solver.__name__: solver for solver in (copy, recall, retrieval, qa_yesno, qa_where, qa_two_facts)
}


def asked(source: Source, examples: Examples) -> Iterator[tuple[str, str, str]]:
    """Of every question: all words up to its end, its answer, its kind."""
    for n, t in np.argwhere(examples.answers_NT != UNASKED).tolist():
        text = " ".join(source.words[token] for token in examples.tokens_NT[n, : t + 1].tolist())
        yield text, source.words[examples.answers_NT[n, t]], source.kinds[examples.kinds_NT[n, t]]


@functools.cache
def questions(name: str) -> list[tuple[str, str, str]]:
    source: Source = catalogue.load("tasks", name).open(None)
    drawn, held_out = source.draw(np.random.default_rng(22), 700), rows_of(source.held_out, slice(500))
    return [*asked(source, drawn), *asked(source, held_out)]


def test_every_generator_has_a_solver() -> None:
    tasks = {name: catalogue.load("tasks", name) for name in catalogue.entries("tasks")}
    assert {*SOLVERS, "nli_templates"} == {name for name, task in tasks.items() if not task.needs_path}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_a_solver_agrees_with_every_answer(name: str) -> None:
    wrong = [(text, answer) for text, answer, _ in questions(name) if SOLVERS[name](text) != answer]
    assert not wrong, wrong[:3]


def test_an_inference_has_one_label_whoever_it_is_about() -> None:
    source: Source = catalogue.load("tasks", "nli_templates").open(None)
    letters = ((source.words[-14:-8], "ABCD"), (source.words[-8:-4], "v"), (source.words[-4:], "pqr"))
    labels: dict[str, set[str]] = defaultdict(set)
    for text, label, _ in questions("nli_templates"):
        words = text.split()
        for names, shown in letters:
            met = dict.fromkeys(word for word in words if word in names)
            renamed = dict(zip(met, shown, strict=False))
            words = [renamed.get(word, word) for word in words]
        labels[" ".join(words)].add(label)
    assert {shape for shape, told in labels.items() if len(told) > 1} == set()
    assert {shape: labels[shape] for shape in INFERENCES} == {shape: {label} for shape, label in INFERENCES.items()}


def numbered(kind: str, number: int) -> bool:
    """Whether a kind, such as `3 facts` or `9-16`, holds the number."""
    bounds = [*map(int, re.findall(r"\d+", kind))]
    return bounds[0] <= number <= bounds[-1]


def since_the_fact(text: str) -> int:
    """Words between the value that is asked for and the question's mark."""
    words = text.split()
    fact = next(i for i, word in enumerate(words) if word == "!" and words[i + 1] == words[-1])
    return len(words) - 2 - (fact + 3)


# Of a task: what its kinds say, and what holds of a question's text, answer and kind.
CLAIMS: list[tuple[str, str, Callable[[str, str, str], bool]]] = [
    ("recall", "keys", lambda t, _, k: numbered(k, len({w for w in t.split() if w[0] == "k"}))),
    ("retrieval", "distance", lambda t, _, k: numbered(k, since_the_fact(t))),
    ("qa_where", "facts", lambda t, _, k: numbered(k, t.count(" to the "))),
    ("qa_two_facts", "facts", lambda t, _, k: numbered(k, t.count(" ."))),
    ("qa_yesno", "yes", lambda _, a, k: (a == "yes") == (k == "yes")),
]


@pytest.mark.parametrize(("name", "claim", "holds"), CLAIMS, ids=[f"{c[0]}-{c[1]}" for c in CLAIMS])
def test_a_kind_says_what_is_asked(name: str, claim: str, holds: Callable[[str, str, str], bool]) -> None:
    wrong = [question for question in questions(name) if not holds(*question)]
    assert not wrong, (claim, wrong[:3])
