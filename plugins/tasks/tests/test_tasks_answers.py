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


def qa_two_facts(text: str) -> str:
    holder = {thing: person for person, thing in re.findall(r"(\w+) took the (\w+) \.", text)}
    return told(r"(\w+) went to the (\w+) \.", text)[holder[last_word(text)]]


# Who did something to whom, or somebody alone did something, and whether: what a premise says, and what a hypothesis asks.
Fact = tuple[str, ...]
PATTERNS: tuple[tuple[str, Callable[..., dict[Fact, bool]]], ...] = (
    (r"the (\w+) (\w+) the (\w+) but never the (\w+)", lambda a, v, b, c: {(a, v, b): True, (a, v, c): False}),
    (r"the (\w+) never (\w+) the (\w+) but \2 the (\w+)", lambda a, v, c, b: {(a, v, b): True, (a, v, c): False}),
    (
        r"the (\w+) was (\w+) by the (\w+) but never by the (\w+)",
        lambda b, v, a, c: {(a, v, b): True, (c, v, b): False},
    ),
    (
        r"the (\w+) was never (\w+) by the (\w+) but by the (\w+)",
        lambda b, v, c, a: {(a, v, b): True, (c, v, b): False},
    ),
    (
        r"the (\w+) and the (\w+) but not the (\w+) (\w+) the (\w+)",
        lambda a, b, c, v, d: {(a, v, d): True, (b, v, d): True, (c, v, d): False},
    ),
    (
        r"not the (\w+) but the (\w+) and the (\w+) (\w+) the (\w+)",
        lambda c, a, b, v, d: {(a, v, d): True, (b, v, d): True, (c, v, d): False},
    ),
    (
        r"the (\w+) (\w+) the (\w+) and the (\w+) but not the (\w+)",
        lambda d, v, a, b, c: {(d, v, a): True, (d, v, b): True, (d, v, c): False},
    ),
    (
        r"the (\w+) (\w+) not the (\w+) but the (\w+) and the (\w+)",
        lambda d, v, c, a, b: {(d, v, a): True, (d, v, b): True, (d, v, c): False},
    ),
    (
        r"the (\w+) near the (\w+) (\w+) the (\w+) but never the (\w+)",
        lambda a, _b, v, c, d: {(a, v, c): True, (a, v, d): False},
    ),
    (
        r"near the (\w+) the (\w+) (\w+) the (\w+) but never the (\w+)",
        lambda _b, a, v, c, d: {(a, v, c): True, (a, v, d): False},
    ),
)
CONDITION = r"if the (\w+) (\w+)"
CONSEQUENCE = r"the (\w+) (\w+) but the (\w+) never (\w+)"


def nli_templates(text: str) -> str:
    premise, _, hypothesis = text.rpartition(" . ")
    if premise.split()[0] in {"every", "some", "no"}:
        return quantified(premise, hypothesis)
    facts = conditional(premise) if " if " in f" {premise}" else plain(premise)
    words = hypothesis.split()
    if "was" in words:
        asked: Fact = (words[6], words[3], words[1])
    else:
        asked = tuple(word for word in words if word != "the")
    return {True: "entailment", False: "contradiction", None: "neutral"}[facts.get(asked)]


def plain(premise: str) -> dict[Fact, bool]:
    found = [said(*match.groups()) for form, said in PATTERNS if (match := re.fullmatch(form, premise))]
    assert len(found) == 1, premise  # a premise has one reading
    return found[0]


def conditional(premise: str) -> dict[Fact, bool]:
    (fact,) = (part for part in premise.split(" . ") if " if " not in f" {part}")
    (rule,) = (part for part in premise.split(" . ") if " if " in f" {part}")
    condition = present(re.search(CONDITION, rule))
    consequence = present(re.search(CONSEQUENCE, rule.replace(condition.group(), "")))
    b, y, c, z = consequence.groups()
    follows: dict[Fact, bool] = {(b, y): True, (c, z): False} if fact.split()[1:] == list(condition.groups()) else {}
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


SOLVERS: dict[str, Callable[[str], str]] = {
    solver.__name__: solver for solver in (copy, recall, retrieval, qa_yesno, qa_where, qa_two_facts, nli_templates)
}


def asked(source: Source, examples: Examples) -> Iterator[tuple[str, str, str]]:
    """Of every question: all words up to its end, its answer, its kind."""
    for n, t in np.argwhere(examples.answers_NT != UNASKED).tolist():
        text = " ".join(source.words[token] for token in examples.tokens_NT[n, : t + 1].tolist())
        yield text, source.words[examples.answers_NT[n, t]], source.kinds[examples.kinds_NT[n, t]]


def first(examples: Examples, n: int) -> Examples:
    return Examples(examples.tokens_NT[:n], examples.answers_NT[:n], examples.kinds_NT[:n], examples.lengths_N[:n])


@functools.cache
def of(name: str) -> tuple[Source, Examples]:
    source: Source = catalogue.load("tasks", name).open(None)
    return source, source.draw(np.random.default_rng(22), 1500)


def test_every_generator_has_a_solver() -> None:
    tasks = {name: catalogue.load("tasks", name) for name in catalogue.entries("tasks")}
    assert set(SOLVERS) == {name for name, task in tasks.items() if not task.needs_path}


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_a_solver_agrees_with_every_answer(name: str) -> None:
    source, train = of(name)
    for examples in (first(source.held_out, 500), first(train, 300)):
        wrong = [(text, answer) for text, answer, _ in asked(source, examples) if SOLVERS[name](text) != answer]
        assert not wrong, wrong[:3]


def test_recalls_kind_is_the_number_of_pairs() -> None:
    source, train = of("recall")
    for text, _, kind in asked(source, first(train, 300)):
        facts = set(re.findall(r"(k\d+) v\d+", text))
        assert int(kind.split()[0]) >= len(facts)  # what was asked before stands there as a pair too
        assert int(kind.split()[0]) == len({word for word in text.split() if word[0] == "k"})


def test_retrievals_kind_is_the_distance() -> None:
    source, train = of("retrieval")
    for text, _, kind in asked(source, first(train, 300)):
        words = text.split()
        fact = next(i for i, word in enumerate(words) if word == "!" and words[i + 1] == words[-1])
        between = len(words) - 2 - (fact + 3)  # behind the value, before the question's mark
        low, high = map(int, kind.split("-"))
        assert low <= between <= high


def test_retrieval_has_decoys_that_answer_wrongly() -> None:
    """Answers that ignore the pairs' mark are sometimes wrong: the mark has a meaning."""
    source, train = of("retrieval")
    questions = asked(source, first(train, 300))
    unmarked = [told(r"(k\d+) (v\d+)", text).get(last_word(text)) == answer for text, answer, _ in questions]
    assert 0.5 < np.mean(unmarked) < 0.95


def test_yes_and_no_are_even_and_every_word_of_a_question_was_told() -> None:
    source, train = of("qa_yesno")
    kinds: Counter[str] = Counter()
    for text, answer, kind in asked(source, train):
        story, _, question = text.rpartition("did ")
        assert all(f" {word}" in f" {story}" for word in question.split())  # "help" begins "helped"
        assert (answer == "yes") == (kind == "yes")
        kinds[kind] += 1
    total = sum(kinds.values())
    assert kinds["yes"] / total == pytest.approx(0.5, abs=0.03)
    assert {kind: round(count / total, 2) for kind, count in kinds.items() if kind != "yes"} == pytest.approx(
        {"swapped": 0.3, "object": 0.12, "verb": 0.08}, abs=0.03
    )


def test_no_question_of_a_row_is_asked_twice() -> None:
    source, train = of("qa_yesno")
    for text, _, _ in asked(source, train):
        questions = [question[:5] for question in map(str.split, text.split("did ")[1:])]
        assert len({tuple(question) for question in questions}) == len(questions)


def test_wheres_kind_is_the_number_of_facts_and_no_answer_stands_there_already() -> None:
    source, train = of("qa_where")
    for text, _, kind in asked(source, first(train, 500)):
        assert int(kind.split()[0]) == text.count(" to the ")
        person = last_word(text)
        since = text[: -len(person)].rpartition(f"where is {person} ")[2]
        assert re.search(rf"{person} \w+ to the", since)  # moved since last asked for


def test_people_move_again() -> None:
    source, train = of("qa_where")
    moves = [len(re.findall(rf"{last_word(text)} \w+ to", text)) for text, _, _ in asked(source, train)]
    assert 0.05 < np.mean(np.array(moves) > 1) < 0.5


def test_two_facts_count_and_orders_vary() -> None:
    source, train = of("qa_two_facts")
    orders: Counter[bool] = Counter()
    for text, _, kind in asked(source, train):
        assert int(kind.split()[0]) == text.count(" .")
        thing = last_word(text)
        (holder,) = re.findall(rf"(\w+) took the {thing} ", text)
        orders[text.index(f"{holder} took") < text.index(f"{holder} went")] += 1
    assert min(orders.values()) > 0.3 * sum(orders.values())


def test_inference_labels_share_their_words() -> None:
    """Of one template, every label is as frequent behind the same words: same for hypotheses, and for both together."""
    source: Source = catalogue.load("tasks", "nli_templates").open(None)
    train = source.draw(np.random.default_rng(23), 20_000)
    people, verbs, actions = source.words[-14:-8], source.words[-8:-4], source.words[-4:]
    role = dict.fromkeys(people, "P") | dict.fromkeys(verbs, "V") | dict.fromkeys(actions, "X")
    hypotheses: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    together: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for text, label, kind in asked(source, train):
        premise, _, hypothesis = text.rpartition(" . ")
        shape = " ".join(role.get(word, word) for word in hypothesis.split())
        hypotheses[kind, shape][label] += 1
        assert set(hypothesis.split()) <= {*premise.split(), "was", "by", "the"}  # nobody comes from nowhere
        both = shape + " | " + " ".join(sorted(role.get(word, word) for word in premise.split()))
        together[kind, both][label] += 1
    assert len({kind for kind, _ in hypotheses}) == len(source.kinds)
    for table in (hypotheses, together):
        for labels in table.values():
            total = sum(labels.values())
            bound = 4 * (2 / 9 / total) ** 0.5  # four standard errors of a third
            assert all(abs(labels[label] / total - 1 / 3) < bound for label in source.words[1:4]), table
