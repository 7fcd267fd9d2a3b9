"""Role questions, yes or no: "the doctor helped the judge . did the judge help the doctor" after one or two sentences."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from modbench.extend import Examples, Source, Task
from modbench.plugins.tasks.tasks import _shortcuts as rules
from modbench.plugins.tasks.tasks._build import Bools, Drawn, Ints, Writer, choose, generator

PEOPLE = ("doctor", "judge", "lawyer", "farmer", "baker", "pilot")
PAST = ("helped", "called", "thanked", "warned")
BASE = ("help", "call", "thank", "warn")
WORDS = ("yes", "no", "the", "did", ".", *PEOPLE, *PAST, *BASE)
YES, NO, THE, DID, STOP, PERSON = range(1, 7)
DONE = PERSON + len(PEOPLE)
DO = DONE + len(PAST)
KINDS = ("yes", "swapped", "object", "verb")
# Shares of the kinds for a question after one sentence, for one about the second sentence after a question about the first, and
# for one after both sentences. A single sentence has no other object or verb, and a new word would give the answer away. So
# would, in the second case, the verb of the previous question.
FIRST, SECOND, BOTH = (0.5, 0.5, 0.0, 0.0), (0.5, 0.3, 0.2, 0.0), (0.5, 0.2, 0.14, 0.16)
SENTENCES = 2


def _make(rng: np.random.Generator, n: int) -> Drawn:
    """Ask about each sentence right after it, or about both at the end, in random order.

    Questions use only words of the sentences, and two questions in a row are about different sentences, so none repeats.
    """
    people_NP = PERSON + choose(rng, n, len(PEOPLE), 2 * SENTENCES)
    verbs_NS = choose(rng, n, len(PAST), SENTENCES)
    at_once_N = rng.random(n) < 0.5
    turned_N = at_once_N & (rng.random(n) < 0.5)
    writer = Writer(n)
    _write_sentence(writer, people_NP[:, :2], verbs_NS[:, 0])
    _ask(rng, writer, people_NP, verbs_NS, rng.choice(len(KINDS), n, p=FIRST), where=~at_once_N)
    _write_sentence(writer, people_NP[:, 2:], verbs_NS[:, 1])
    for first in (True, False):
        about_first_N = turned_N ^ first
        kind_N = np.where(at_once_N, rng.choice(len(KINDS), n, p=BOTH), rng.choice(len(KINDS), n, p=SECOND))
        there_NP = np.where(about_first_N[:, None], people_NP, np.roll(people_NP, 2, axis=1))
        told_NS = np.where(about_first_N[:, None], verbs_NS, np.roll(verbs_NS, 1, axis=1))
        _ask(rng, writer, there_NP, told_NS, kind_N, where=at_once_N if first else None)
    second_NP = people_NP[:, 2:] * at_once_N[:, None]
    return writer.drawn(np.concatenate([people_NP[:, :2], verbs_NS[:, :1], second_NP], axis=1))


def _write_sentence(writer: Writer, people_N2: Ints, verb_N: Ints) -> None:
    writer.write(THE, people_N2[:, 0], DONE + verb_N, THE, people_N2[:, 1], STOP)


def _ask(
    rng: np.random.Generator, writer: Writer, people_NP: Ints, verbs_NS: Ints, kind_N: Ints, where: Bools | None
) -> None:
    """Ask about the sentence whose people and verb come first."""
    other_N = np.where(rng.random(writer.n) < 0.5, people_NP[:, 2], people_NP[:, 3])
    swapped_N = kind_N == KINDS.index("swapped")
    subject_N = np.where(swapped_N, people_NP[:, 1], people_NP[:, 0])
    object_N = np.where(swapped_N, people_NP[:, 0], np.where(kind_N == KINDS.index("object"), other_N, people_NP[:, 1]))
    verb_N = np.where(kind_N == KINDS.index("verb"), verbs_NS[:, 1], verbs_NS[:, 0])
    writer.write(DID, THE, subject_N, DO + verb_N, THE, object_N, where=where)
    writer.ask(np.where(kind_N == 0, YES, NO), kind_N, where=where)


def _open(_path: str | None) -> Source:
    return generator(WORDS, ("yes", "no"), KINDS, 25, _make)


def _shortcuts(train: Examples, held_out: Examples) -> Mapping[str, float]:
    asked = rules.questions(held_out)
    one_sentence_Q, roles_Q = _half_readings(asked)
    return {
        "majority": rules.majority(train, held_out),
        "bag of words": rules.bag(train, held_out),
        "question alone": rules.bag(train, held_out, rules.after(STOP)),
        "single word": rules.cue(train, held_out),
        "words of one sentence": float(np.mean(np.where(one_sentence_Q, YES, NO) == asked.answer_Q)),
        "subject and object roles": float(np.mean(np.where(roles_Q, YES, NO) == asked.answer_Q)),
    }


def _half_readings(asked: rules.Questions) -> tuple[Bools, Bools]:
    """[Q]: whether one sentence has all three words of the question; whether its people are subject and object anywhere."""
    tokens_QT = asked.tokens_NT[asked.row_Q]
    subject_Q1, verb_Q1, object_Q1 = (
        tokens_QT[np.arange(len(tokens_QT)), asked.at_Q - back][:, None] for back in (3, 2, 0)
    )
    ends_QT = (tokens_QT == STOP) & asked.seen()
    told_subject_QT, told_verb_QT, told_object_QT = (np.roll(tokens_QT, back, axis=1) for back in (4, 3, 1))
    same_verb_QT = told_verb_QT - DONE == verb_Q1 - DO
    straight_QT = (told_subject_QT == subject_Q1) & (told_object_QT == object_Q1)
    turned_QT = (told_subject_QT == object_Q1) & (told_object_QT == subject_Q1)
    one_sentence_Q = (ends_QT & same_verb_QT & (straight_QT | turned_QT)).any(axis=1)
    acts_Q = (ends_QT & (told_subject_QT == subject_Q1)).any(axis=1)
    suffers_Q = (ends_QT & (told_object_QT == object_Q1)).any(axis=1)
    return one_sentence_Q, acts_Q & suffers_Q


TASK = Task(open=_open, shortcuts=_shortcuts, steps=1600)
