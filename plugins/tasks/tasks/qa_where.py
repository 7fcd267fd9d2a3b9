"""Where somebody is (one supporting fact): "Mary went to the kitchen . ... where is Mary" after one to six facts."""

from __future__ import annotations

from functools import partial

import numpy as np

from modbench.extend import Source, Task
from modbench.plugins.tasks.tasks import _shortcuts as rules
from modbench.plugins.tasks.tasks._build import Bools, Drawn, Ints, Writer, generator

PEOPLE = ("Mary", "John", "Anna", "Paul", "Lucy", "Omar", "Nina", "Hugo")
GRID_POINTS = ("kitchen", "garden", "office", "cellar", "attic", "library", "garage", "school")
WENT = ("went", "walked", "ran")
WORDS = ("to", "the", "where", "is", ".", *WENT, *PEOPLE, *GRID_POINTS)
TO, THE, WHERE, IS, STOP, FIRST_WENT = range(1, 7)
PERSON = FIRST_WENT + len(WENT)
PLACE = PERSON + len(PEOPLE)
ANSWERS = tuple(range(PLACE, PLACE + len(GRID_POINTS)))
FACTS = 6
# Number of questions after each fact. Only people who moved since they were last asked about are asked about, so that no earlier
# answer gives the answer away. Some questions come after few facts, because models learn from short stories first.
ASKED = np.array(
    [
        (1, 0, 2, 0, 0, 3),
        (1, 1, 0, 2, 0, 2),
        (0, 2, 0, 2, 0, 2),
        (0, 0, 3, 0, 0, 3),
        (0, 1, 0, 2, 1, 2),
        (1, 0, 1, 1, 0, 3),
        (0, 2, 0, 0, 0, 4),
    ]
)
SEQ_LEN = 6 * FACTS + 4 * 6 - 1


def _make(rng: np.random.Generator, n: int) -> Drawn:
    """People move repeatedly in a story; a person who moved and was not asked about yet may be asked about later."""
    asked_NF = ASKED[rng.integers(0, len(ASKED), n)]
    writer = Writer(n)
    row_N = np.arange(n)
    place_NP = np.zeros((n, len(PEOPLE)), dtype=np.int64)
    due_NP: Bools = np.zeros((n, len(PEOPLE)), dtype=np.bool_)
    key_NF = np.zeros((n, 3), dtype=np.int64)
    first_N = np.argmax(asked_NF > 0, axis=1)
    for fact in range(FACTS):
        # Nobody moves twice before being asked about; otherwise too few people would be left for the questions.
        person_N = _one_of(rng, ~due_NP)
        place_N = rng.integers(0, len(GRID_POINTS), n)
        place_NP[row_N, person_N] = place_N
        due_NP[row_N, person_N] = True
        went_N = FIRST_WENT + rng.integers(0, len(WENT), n)
        writer.write(PERSON + person_N, went_N, TO, THE, PLACE + place_N, STOP)
        if fact < 3:
            key_NF[:, fact] = (fact <= first_N) * (1 + person_N * len(GRID_POINTS) + place_N)
        for question in range(int(ASKED[:, fact].max())):
            _ask(rng, writer, place_NP, due_NP, question < asked_NF[:, fact], fact)
    return writer.drawn(key_NF)


def _ask(rng: np.random.Generator, writer: Writer, place_NP: Ints, due_NP: Bools, there_N: Bools, fact: int) -> None:
    """Ask the rows in `there_N` about a person whose question is due."""
    person_N = _one_of(rng, due_NP)
    row_N = np.arange(len(person_N))
    due_NP[row_N, person_N] &= ~there_N
    writer.write(WHERE, IS, PERSON + person_N, where=there_N)
    writer.ask(PLACE + place_NP[row_N, person_N], fact, where=there_N)


def _one_of(rng: np.random.Generator, allowed_NP: Bools) -> Ints:
    """[N]: one allowed column of each row."""
    chosen_N: Ints = np.argmax(rng.random(allowed_NP.shape) * allowed_NP, axis=1)
    return chosen_N


def _open(_path: str | None) -> Source:
    kinds = ("1 fact", *(f"{facts} facts" for facts in range(2, FACTS + 1)))
    return generator(WORDS, GRID_POINTS, kinds, SEQ_LEN, _make)


TASK = Task(open=_open, shortcuts=partial(rules.by_key, values=ANSWERS, key="person", value="place"), steps=800)
