"""What every task promises: shapes, pads, answers that follow, the same draw for the same numbers, nothing held out shown."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from task_files import opened

from modbench.harness.core.contracts import UNASKED, Examples, Source, Task
from modbench.harness.registry import catalogue

NAMES = sorted(catalogue.entries("tasks"))
GENERATORS = [name for name in NAMES if not catalogue.load("tasks", name).needs_path]
# The most that any rule but the named ones reaches, and what these do: rules that read more than words, but not all.
BOUNDS = {
    "copy": (0.15, {}),
    "recall": (0.46, {}),
    "retrieval": (0.38, {}),
    "qa_yesno": (0.535, {"words of one sentence": (0.66, 0.74), "subject and object roles": (0.82, 0.89)}),
    "qa_where": (0.39, {}),
    "qa_two_facts": (0.51, {}),
    "nli_templates": (0.375, {}),
}


@functools.cache
def generator(name: str) -> tuple[Task, Source, Examples]:
    """A generator, opened, and rows to train on."""
    task: Task = catalogue.load("tasks", name)
    source = task.open(None)
    return task, source, source.draw(np.random.default_rng(11), 4000)


@pytest.fixture(params=NAMES)
def named(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Source]:
    name = request.param
    return name, generator(name)[1] if name in GENERATORS else opened(name, tmp_path)


def sides(source: Source) -> list[Examples]:
    return [source.held_out, source.draw(np.random.default_rng(1), 65), source.draw(np.random.default_rng(2), 1)]


@pytest.mark.slow
def test_arrays_have_their_shapes(named: tuple[str, Source]) -> None:
    _, source = named
    for side, n in zip(sides(source), (None, 65, 1), strict=True):
        rows = len(side.lengths_N) if n is None else n
        for array in (side.tokens_NT, side.answers_NT, side.kinds_NT):
            assert array.shape == (rows, source.seq_len)
            assert array.dtype == np.int64
        assert side.lengths_N.shape == (rows,)
        assert side.lengths_N.dtype == np.int64


def test_pads_stand_on_the_right_and_nowhere_else(named: tuple[str, Source]) -> None:
    _, source = named
    for side in sides(source):
        real_NT = np.arange(source.seq_len) < side.lengths_N[:, None]
        assert np.array_equal(side.tokens_NT > 0, real_NT)
        assert side.lengths_N.min() >= 1
        assert side.lengths_N.max() <= source.seq_len
    assert max(side.lengths_N.max() for side in sides(source)) == source.seq_len  # no column is wasted


def test_the_vocabulary_names_every_token_once(named: tuple[str, Source]) -> None:
    _, source = named
    assert source.words[0] == "<pad>"
    assert len(set(source.words)) == len(source.words)
    assert max(side.tokens_NT.max() for side in sides(source)) < len(source.words)
    assert len(set(source.candidates)) == len(source.candidates)
    assert all(0 < token < len(source.words) for token in source.candidates)


def test_questions_stand_within_rows_and_answers_among_candidates(named: tuple[str, Source]) -> None:
    _, source = named
    for side in sides(source):
        asked_NT = side.answers_NT != UNASKED
        assert np.isin(side.answers_NT[asked_NT], source.candidates).all()
        assert asked_NT.any(axis=1).all()
        last_N = source.seq_len - 1 - asked_NT[:, ::-1].argmax(axis=1)
        assert np.array_equal(last_N, side.lengths_N - 1)  # nothing stands behind the last question


def test_an_answer_follows_its_question(named: tuple[str, Source]) -> None:
    _, source = named
    for side in sides(source):
        asked_NT = (side.answers_NT != UNASKED)[:, :-1] & (np.arange(1, source.seq_len) < side.lengths_N[:, None])
        assert np.array_equal(side.tokens_NT[:, 1:][asked_NT], side.answers_NT[:, :-1][asked_NT])


def test_kinds_are_in_range_and_stand_where_questions_do(named: tuple[str, Source]) -> None:
    name, source = named
    assert len(set(source.kinds)) == len(source.kinds)
    for side in sides(source):
        assert side.kinds_NT.min() >= 0
        assert side.kinds_NT.max() < len(source.kinds)
        assert not side.kinds_NT[side.answers_NT == UNASKED].any()
    if name in GENERATORS:
        kinds = source.held_out.kinds_NT[source.held_out.answers_NT != UNASKED]
        assert np.bincount(kinds, minlength=len(source.kinds)).min() >= 200  # each has a number worth telling


def same(a: Examples, b: Examples) -> bool:
    return all(np.array_equal(getattr(a, side), getattr(b, side)) for side in a.__dataclass_fields__)


def test_a_draw_is_the_generators_alone(named: tuple[str, Source]) -> None:
    name, source = named
    again: Any = catalogue.load("tasks", name)
    first = source.draw(np.random.default_rng(5), 32)
    source.draw(np.random.default_rng(6), 32)
    assert same(first, source.draw(np.random.default_rng(5), 32))
    assert not same(first, source.draw(np.random.default_rng(6), 32))
    if name in GENERATORS:
        assert same(source.held_out, again.open(None).held_out)
        assert len(source.held_out.lengths_N) == 2000


@pytest.mark.parametrize("name", GENERATORS)
def test_no_held_out_beginning_is_ever_drawn(name: str) -> None:
    """Up to and with its first question, no held-out row is drawn for training: so no later question of it either."""
    _, source, train = generator(name)
    drawn = beginnings(train)
    held_out = beginnings(source.held_out)
    assert held_out.isdisjoint(drawn)
    assert len(held_out) >= 10
    assert len(drawn) > len(held_out)


def beginnings(examples: Examples) -> set[tuple[int, ...]]:
    ends_N = (examples.answers_NT != UNASKED).argmax(axis=1) + 1
    return {(*row[:end],) for row, end in zip(examples.tokens_NT.tolist(), ends_N.tolist(), strict=True)}


def test_shortcuts_are_shares_and_majority_is_among_them(named: tuple[str, Source]) -> None:
    name, source = named
    task: Task = catalogue.load("tasks", name)
    train = source.draw(np.random.default_rng(3), 500)
    levels = task.shortcuts(train, source.held_out)
    assert "majority" in levels
    assert len(levels) >= 4
    assert all(0 <= level <= 1 for level in levels.values())
    answers = train.answers_NT[train.answers_NT != UNASKED]
    asked = source.held_out.answers_NT[source.held_out.answers_NT != UNASKED]
    assert levels["majority"] == pytest.approx(np.mean(asked == np.bincount(answers).argmax()))


@pytest.mark.parametrize("name", GENERATORS)
def test_no_rule_gives_the_answers_away(name: str) -> None:
    task, source, train = generator(name)
    levels = dict(task.shortcuts(train, source.held_out))
    most, apart = BOUNDS[name]
    for rule, (low, high) in apart.items():
        assert low <= levels.pop(rule) <= high, rule
    assert max(levels.values()) <= most, levels


@pytest.mark.parametrize("name", GENERATORS)
def test_no_answer_is_much_more_frequent_than_another(name: str) -> None:
    _, source, train = generator(name)
    for side in (source.held_out, train):
        answers = side.answers_NT[side.answers_NT != UNASKED]
        shares = np.bincount(answers, minlength=len(source.words))[list(source.candidates)] / len(answers)
        assert shares.max() <= 1.35 / len(source.candidates)
        assert shares.min() >= 0.65 / len(source.candidates)
