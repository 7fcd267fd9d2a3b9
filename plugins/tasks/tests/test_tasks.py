"""What every task promises: well-formed rows, one draw for a number, nothing held out shown, no rule that answers."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
from task_files import opened

from modbench.harness.core.contracts import UNASKED, Examples, Source, Task
from modbench.harness.registry import catalogue

NAMES = sorted(catalogue.entries("tasks"))
# Of each generator the most that any rule but the named ones reaches, and what these do: they read more than words, but not all.
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
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    name = request.param
    return generator(name)[1] if name in BOUNDS else opened(name, tmp_path)


def test_rows_are_well_formed(source: Source) -> None:
    for names in (source.words, source.candidates, source.kinds):
        assert len({*names}) == len(names)
    assert source.words[0] == "<pad>"
    assert all(0 < token < len(source.words) for token in source.candidates)
    drawn = [source.draw(np.random.default_rng(n), n) for n in (65, 1)]
    for side, rows in zip([source.held_out, *drawn], (len(source.held_out.lengths_N), 65, 1), strict=True):
        for array in (side.tokens_NT, side.answers_NT, side.kinds_NT):
            assert (array.shape, array.dtype) == ((rows, source.seq_len), np.int64)
        assert (side.lengths_N.shape, side.lengths_N.dtype, side.lengths_N.min() >= 1) == ((rows,), np.int64, True)
        within_NT, asked_NT = np.arange(source.seq_len) < side.lengths_N[:, None], side.answers_NT != UNASKED
        assert np.array_equal(side.tokens_NT > 0, within_NT), "pads stand on the right and nowhere else"
        assert side.tokens_NT.max() < len(source.words), "every token has a name"
        assert np.isin(side.answers_NT[asked_NT], source.candidates).all(), "answers are among the candidates"
        last_N = np.where(asked_NT, np.arange(source.seq_len), -1).max(axis=1)
        assert np.array_equal(last_N, side.lengths_N - 1), "a row ends with its last question"
        followed_NT = asked_NT[:, :-1] & within_NT[:, 1:]
        assert np.array_equal(side.tokens_NT[:, 1:][followed_NT], side.answers_NT[:, :-1][followed_NT]), (
            "an answer follows its question"
        )
        assert 0 <= side.kinds_NT.min() <= side.kinds_NT.max() < len(source.kinds)
        assert not side.kinds_NT[~asked_NT].any(), "a kind is that of a question"
    assert max(side.lengths_N.max() for side in [source.held_out, *drawn]) == source.seq_len, "no column is wasted"


def same(a: Examples, b: Examples) -> bool:
    return all(np.array_equal(getattr(a, side), getattr(b, side)) for side in a.__dataclass_fields__)


def test_a_draw_is_the_generators_alone(source: Source) -> None:
    first = source.draw(np.random.default_rng(5), 32)
    other = source.draw(np.random.default_rng(6), 32)
    assert same(first, source.draw(np.random.default_rng(5), 32))
    assert not same(first, other)


@pytest.mark.parametrize("name", NAMES)
def test_no_rule_gives_the_answers_away(name: str, tmp_path: Path) -> None:
    if name in BOUNDS:
        task, source, train = generator(name)
    else:
        task, source = catalogue.load("tasks", name), opened(name, tmp_path)
        train = source.draw(np.random.default_rng(3), 500)
    levels = dict(task.shortcuts(train, source.held_out))
    assert "majority" in levels
    assert len(levels) >= 4
    most, apart = BOUNDS.get(name, (1.0, {}))  # what files hold is not ours
    for rule, (low, high) in apart.items():
        assert low <= levels.pop(rule) <= high, rule
    assert max(levels.values()) <= most, levels


def beginnings(examples: Examples) -> set[tuple[int, ...]]:
    ends_N = (examples.answers_NT != UNASKED).argmax(axis=1) + 1
    return {(*row[:end],) for row, end in zip(examples.tokens_NT.tolist(), ends_N.tolist(), strict=True)}


@pytest.mark.slow
@pytest.mark.parametrize("name", BOUNDS)
def test_what_is_held_out_is_fixed_and_never_drawn(name: str) -> None:
    """Up to and with its first question, no held-out row is drawn for training: so no later question of it either."""
    task, source, train = generator(name)
    held_out, drawn = beginnings(source.held_out), beginnings(train)
    assert held_out.isdisjoint(drawn)
    assert 10 <= len(held_out) < len(drawn)
    assert len(source.held_out.lengths_N) == 2000
    assert same(source.held_out, task.open(None).held_out)
