"""Where a thing is (two supporting facts): "Mary took the apple . Mary went to the garden . where is the apple"."""

from __future__ import annotations

from functools import partial

import numpy as np

from modbench.extend import Source, Task
from modbench.plugins.tasks.tasks import _shortcuts as rules
from modbench.plugins.tasks.tasks._build import Bools, Drawn, Ints, Writer, choose, generator

PEOPLE = ("Mary", "John", "Anna", "Paul", "Lucy", "Omar")
THINGS = ("apple", "book", "coat", "ball", "key", "letter")
GRID_POINTS = ("kitchen", "garden", "office", "cellar", "attic", "library")
WORDS = ("went", "to", "took", "the", "where", "is", ".", *PEOPLE, *THINGS, *GRID_POINTS)
WENT, TO, TOOK, THE, WHERE, IS, STOP, PERSON = range(1, 9)
THING = PERSON + len(PEOPLE)
PLACE = THING + len(THINGS)
ANSWERS = tuple(range(PLACE, PLACE + len(GRID_POINTS)))
# People who take a thing and go somewhere; one of them may go to a second place before the questions.
MOST_PEOPLE = 3
KINDS = ("2 facts", "3 facts", "4 facts", "5 facts", "6 facts", "7 facts")
SEQ_LEN = 5 * MOST_PEOPLE + 6 * (MOST_PEOPLE + 1) + 5 * MOST_PEOPLE - 1


def _make(rng: np.random.Generator, n: int) -> Drawn:
    """Taking and going events in any order, then a question about every thing, in random order."""
    people_N = rng.integers(1, MOST_PEOPLE + 1, n)
    there_NP = np.arange(MOST_PEOPLE) < people_N[:, None]
    person_NP, thing_NP = choose(rng, n, len(PEOPLE), MOST_PEOPLE), choose(rng, n, len(THINGS), MOST_PEOPLE)
    # Events: each person takes, each person goes, and in half of the stories one goes a second time.
    again_N = rng.random(n) < 0.5
    mover_N = rng.integers(0, people_N)
    taker_NE = np.concatenate([np.tile(np.arange(MOST_PEOPLE), (n, 2)), mover_N[:, None]], axis=1)
    event_NE = np.concatenate([there_NP, there_NP, again_N[:, None]], axis=1)
    goes_E = np.arange(2 * MOST_PEOPLE + 1) >= MOST_PEOPLE
    order_NE = np.argsort(rng.random(event_NE.shape) + ~event_NE, axis=1)
    place_NE = rng.integers(0, len(GRID_POINTS), event_NE.shape)
    where_NP = np.zeros((n, MOST_PEOPLE), dtype=np.int64)
    writer, row_N = Writer(n), np.arange(n)
    key: list[Ints] = []
    for turn in range(event_NE.shape[1]):
        event_N = order_NE[:, turn]
        is_N: Bools = event_NE[row_N, event_N]
        goes_N: Bools = goes_E[event_N]
        holder_N, place_N = taker_NE[row_N, event_N], place_NE[row_N, turn]
        person_N, thing_N = person_NP[row_N, holder_N], thing_NP[row_N, holder_N]
        gone_N = is_N & goes_N
        where_NP[row_N[gone_N], holder_N[gone_N]] = place_N[gone_N]
        writer.write(PERSON + person_N, np.where(goes_N, WENT, TOOK), where=is_N)
        writer.write(TO, where=gone_N)
        writer.write(THE, np.where(goes_N, PLACE + place_N, THING + thing_N), STOP, where=is_N)
        key.append(is_N * (1 + person_N + len(PEOPLE) * np.where(goes_N, len(THINGS) + place_N, thing_N)))
    facts_N = event_NE.sum(axis=1)
    asked_NP = np.argsort(rng.random((n, MOST_PEOPLE)) + ~there_NP, axis=1)
    for turn in range(MOST_PEOPLE):
        holder_N, asked_N = asked_NP[:, turn], turn < people_N
        writer.write(WHERE, IS, THE, THING + thing_NP[row_N, holder_N], where=asked_N)
        writer.ask(PLACE + where_NP[row_N, holder_N], facts_N - 2, where=asked_N)
    return writer.drawn(np.stack(key, axis=1))


def _open(_path: str | None) -> Source:
    return generator(WORDS, GRID_POINTS, KINDS, SEQ_LEN, _make)


TASK = Task(open=_open, shortcuts=partial(rules.by_key, values=ANSWERS, key="thing", value="place"), steps=600)
