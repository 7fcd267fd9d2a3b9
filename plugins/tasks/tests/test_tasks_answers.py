"""Answers that are right: solvers that read nothing but the words agree with every answer a generator gives."""

from __future__ import annotations

import functools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from present import present

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


# Premises, and what each says is so, and is not: A to D are somebody, v is what they did.
PREMISES = (
    ("the A v the B but never the C", "AvB", "AvC"),
    ("the A never v the C but v the B", "AvB", "AvC"),
    ("the B was v by the A but never by the C", "AvB", "CvB"),
    ("the B was never v by the C but by the A", "AvB", "CvB"),
    ("the A and the B but not the C v the D", "AvD BvD", "CvD"),
    ("not the C but the A and the B v the D", "AvD BvD", "CvD"),
    ("the D v the A and the B but not the C", "DvA DvB", "DvC"),
    ("the D v not the C but the A and the B", "DvA DvB", "DvC"),
    ("the A near the B v the C but never the D", "AvC", "AvD"),
    ("near the B the A v the C but never the D", "AvC", "AvD"),
)
# Who did something to whom, or somebody alone did something, and whether.
Facts = dict[tuple[str, ...], bool]


def pattern_of(form: str) -> str:
    """A premise's form as a pattern: a letter stands for a word, the same wherever it is."""
    parts = list[str]()
    for word in form.split():
        known = f"(?P<{word}>" in " ".join(parts)
        parts.append(word if len(word) > 1 else f"(?P={word})" if known else rf"(?P<{word}>\w+)")
    return " ".join(parts)


def plain(premise: str) -> Facts:
    found = list[Facts]()
    for form, so, not_so in PREMISES:
        if match := re.fullmatch(pattern_of(form), premise):
            whether = dict.fromkeys(so.split(), True) | dict.fromkeys(not_so.split(), False)
            found.append({tuple(match[part] for part in fact): is_so for fact, is_so in whether.items()})
    assert len(found) == 1, premise  # a premise has one reading
    return found[0]


def conditional(premise: str) -> Facts:
    (fact,) = (part for part in premise.split(" . ") if " if " not in f" {part}")
    (rule,) = (part for part in premise.split(" . ") if " if " in f" {part}")
    condition = present(re.search(r"if the (\w+) (\w+)", rule))
    consequence = re.search(r"the (\w+) (\w+) but the (\w+) never (\w+)", rule.replace(condition.group(), ""))
    b, y, c, z = present(consequence).groups()
    follows: Facts = {(b, y): True, (c, z): False} if fact.split()[1:] == list(condition.groups()) else {}
    return {(fact.split()[1], fact.split()[2]): True} | follows


def quantified(premise: str, hypothesis: str) -> str:
    (subject, verb), clauses = re.findall(r"^\w+ (\w+) (\w+)", premise)[0], premise.split(" , ")
    of = {clause.split()[-1]: clause.split()[0] for clause in clauses}
    quantifier, who, did, _, whom = hypothesis.split()
    assert did == verb
    if who != subject:
        return "neutral"
    if quantifier == "no":
        return "entailment" if of[whom] == "no" else "contradiction"
    if of[whom] == "no":
        return "contradiction"
    return "neutral" if (quantifier, of[whom]) == ("every", "some") else "entailment"


def nli_templates(text: str) -> str:
    premise, _, hypothesis = text.rpartition(" . ")
    if premise.split()[0] in {"every", "some", "no"}:
        return quantified(premise, hypothesis)
    facts = conditional(premise) if " if " in f" {premise}" else plain(premise)
    words = hypothesis.split()
    asked = (words[6], words[3], words[1]) if "was" in words else tuple(word for word in words if word != "the")
    return {True: "entailment", False: "contradiction", None: "neutral"}[facts.get(asked)]


SOLVERS: dict[str, Callable[[str], str]] = {
    solver.__name__: solver for solver in (copy, recall, retrieval, qa_yesno, qa_where, qa_two_facts, nli_templates)
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
    assert set(SOLVERS) == {name for name, task in tasks.items() if not task.needs_path}


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_a_solver_agrees_with_every_answer(name: str) -> None:
    wrong = [(text, answer) for text, answer, _ in questions(name) if SOLVERS[name](text) != answer]
    assert not wrong, wrong[:3]


def numbered(kind: str, number: int) -> bool:
    """Whether a kind, such as `3 facts` or `9-16`, holds the number."""
    bounds = [*map(int, re.findall(r"\d+", kind))]
    return bounds[0] <= number <= bounds[-1]


def since_the_fact(text: str) -> int:
    """Words between the value that is asked for and the question's mark."""
    words = text.split()
    fact = next(i for i, word in enumerate(words) if word == "!" and words[i + 1] == words[-1])
    return len(words) - 2 - (fact + 3)


def moves(text: str) -> int:
    return len(re.findall(rf"{last_word(text)} \w+ to", text))


def asks_anew(text: str) -> bool:
    asked_for = [tuple(question.split()[:5]) for question in text.split("did ")[1:]]
    return len({*asked_for}) == len(asked_for)


def was_told(text: str) -> bool:
    story, _, question = text.rpartition("did ")
    return all(f" {word}" in f" {story}" for word in question.split())  # "help" begins "helped"


def moved_since_asked(text: str) -> bool:
    person = last_word(text)
    return bool(re.search(rf"{person} \w+ to the", text[: -len(person)].rpartition(f"where is {person} ")[2]))


# Of a task: what holds of a question (its text, answer, kind), and in which share of all.
CLAIMS: list[tuple[str, str, Callable[[str, str, str], bool], float, float]] = [
    ("recall", "kind: keys", lambda t, _, k: numbered(k, len({w for w in t.split() if w[0] == "k"})), 1, 1),
    ("retrieval", "kind: distance", lambda t, _, k: numbered(k, since_the_fact(t)), 1, 1),
    ("retrieval", "decoys mislead", lambda t, a, _: told(r"(k\d+) (v\d+)", t).get(last_word(t)) == a, 0.5, 0.95),
    ("qa_where", "kind: facts", lambda t, _, k: numbered(k, t.count(" to the ")), 1, 1),
    ("qa_where", "moved since asked for", lambda t, _a, _k: moved_since_asked(t), 1, 1),
    ("qa_where", "people move again", lambda t, _a, _k: moves(t) > 1, 0.05, 0.5),
    ("qa_two_facts", "kind: facts", lambda t, _, k: numbered(k, t.count(" .")), 1, 1),
    ("qa_two_facts", "orders", lambda t, _a, _k: t.index(holder(t) + " took") < t.index(holder(t) + " went"), 0.3, 0.7),
    ("qa_yesno", "every word was told", lambda t, _a, _k: was_told(t), 1, 1),
    ("qa_yesno", "no question twice", lambda t, _a, _k: asks_anew(t), 1, 1),
    ("qa_yesno", "kind: yes", lambda _, a, k: (a == "yes") == (k == "yes"), 1, 1),
    ("qa_yesno", "yes", lambda _t, a, _k: a == "yes", 0.47, 0.53),
    ("qa_yesno", "swapped", lambda _t, _a, k: k == "swapped", 0.27, 0.33),
    ("qa_yesno", "object", lambda _t, _a, k: k == "object", 0.09, 0.15),
    ("qa_yesno", "verb", lambda _t, _a, k: k == "verb", 0.05, 0.11),
]


@pytest.mark.parametrize(("name", "claim", "holds", "least", "most"), CLAIMS, ids=[f"{c[0]}-{c[1]}" for c in CLAIMS])
def test_what_is_asked(
    name: str, claim: str, holds: Callable[[str, str, str], bool], least: float, most: float
) -> None:
    share = np.mean([holds(*question) for question in questions(name)])
    assert least <= share <= most, claim


def test_inference_labels_share_their_words() -> None:
    """Of one template, every label is as frequent behind the same words: same for hypotheses, and for both together."""
    source: Source = catalogue.load("tasks", "nli_templates").open(None)
    train = source.draw(np.random.default_rng(23), 20_000)
    people, verbs, actions = source.words[-14:-8], source.words[-8:-4], source.words[-4:]
    role = dict.fromkeys(people, "P") | dict.fromkeys(verbs, "V") | dict.fromkeys(actions, "X")
    labels: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for text, label, kind in asked(source, train):
        premise, _, hypothesis = text.rpartition(" . ")
        shape = " ".join(role.get(word, word) for word in hypothesis.split())
        assert set(hypothesis.split()) <= {*premise.split(), "was", "by", "the"}  # nobody comes from nowhere
        both = shape + " | " + " ".join(sorted(role.get(word, word) for word in premise.split()))
        labels[kind, shape][label] += 1
        labels[kind, both][label] += 1
    assert len({kind for kind, _ in labels}) == len(source.kinds)
    for words, counts in labels.items():
        total = sum(counts.values())
        bound = 4 * (2 / 9 / total) ** 0.5  # four standard errors of a third
        assert all(abs(counts[label] / total - 1 / 3) < bound for label in source.words[1:4]), words
