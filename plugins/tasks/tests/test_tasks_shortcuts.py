"""Rules that solve nothing: each by hand, on rows small enough to see, and against slow A/A controls on drawn ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modbench.harness.core.contracts import UNASKED, Examples
from modbench.plugins.tasks.tasks import _build as build
from modbench.plugins.tasks.tasks import _shortcuts as rules

YES, NO = 1, 2
THREE_WORDS = [*product((3, 4), (5, 6), (7, 8))]


def rows(*told: tuple[list[int], int]) -> Examples:
    """Each row asks at its end: its tokens, and the answer."""
    width = max(len(tokens) for tokens, _ in told)
    tokens_NT = np.zeros((len(told), width), dtype=np.int64)
    answers_NT = np.full_like(tokens_NT, UNASKED)
    for n, (tokens, answer) in enumerate(told):
        tokens_NT[n, : len(tokens)] = tokens
        answers_NT[n, len(tokens) - 1] = answer
    return Examples(tokens_NT, answers_NT, np.zeros_like(tokens_NT), np.array([len(tokens) for tokens, _ in told]))


def behind(rule: Callable[..., float], mark: int) -> Callable[[Examples, Examples], float]:
    return lambda train, held_out: rule(train, held_out, rules.after(mark))


# Token 9 says no, but only behind the mark 7; in front of it, it says nothing.
CUED = [([9, 7, 9], NO), ([5, 7, 9], NO), ([9, 7, 5], YES), ([5, 7, 5], YES)]
ORDERED = [([3, 4], YES), ([4, 3], NO)]
VOTES = [([a, b, c], YES if (a, b, c) in {(3, 5, c), (3, b, 7), (a, 5, 7)} else NO) for a, b, c in THREE_WORDS]


@pytest.mark.parametrize(
    ("claim", "told", "rule", "share"),
    [
        ("a cue behind a mark", CUED, behind(rules.cue, 7), 1.0),
        ("a bag behind a mark", CUED, behind(rules.bag, 7), 1.0),
        ("a cue anywhere: one of four that have a 5 is wrong", CUED, rules.cue, 0.75),
        ("a bag knows no order", ORDERED, rules.bag, 0.5),
        ("the last word knows it", ORDERED, rules.last, 1.0),
        ("no single word decides by majority", VOTES, rules.cue, 0.75),
        ("a bag weighs several words", VOTES, rules.bag, 1.0),
        ("absence of a word counts", [([3, 5], YES), ([5], NO)], rules.bag, 1.0),
    ],
)
def test_what_a_rule_reaches_by_hand(claim: str, told: list[Any], rule: Callable[..., float], share: float) -> None:
    train = rows(*told * 10)
    assert rule(train, train) == share, claim


def test_a_rule_is_of_training() -> None:
    train, held_out = rows(([9, 5], NO), ([8, 5], YES), ([5], YES)), rows(([9, 5], YES), ([8, 5], NO), ([5], NO))
    assert rules.majority(train, held_out) == pytest.approx(1 / 3)
    assert rules.cue(train, held_out) == 0.0


@st.composite
def drawn(draw: st.DrawFn) -> Examples:
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n, t = draw(st.integers(1, 12)), draw(st.integers(1, 8))
    tokens_NT = rng.integers(1, 6, (n, t))
    answers_NT = np.where(rng.random((n, t)) < 0.4, rng.integers(1, 4, (n, t)), UNASKED)
    answers_NT[:, -1] = rng.integers(1, 4, n)
    return Examples(tokens_NT, answers_NT, np.zeros_like(tokens_NT), np.full(n, t))


def told(examples: Examples) -> list[tuple[list[int], int]]:
    return [
        (examples.tokens_NT[n, : t + 1].tolist(), int(examples.answers_NT[n, t]))
        for n, t in np.argwhere(examples.answers_NT != UNASKED).tolist()
    ]


@given(examples=drawn())
def test_fast_rules_agree_with_slow_ones(examples: Examples) -> None:
    candidates = (1, 2, 3)
    recent, shown, frequent = [], [], []
    for seen, answer in told(examples):
        guesses = [token for token in seen if token in candidates]
        counts = Counter(guesses)
        recent.append(bool(guesses) and guesses[-1] == answer)
        shown.append((answer in counts) / max(1, len(counts)))
        best = [token for token in candidates if counts[token] == max(counts[token] for token in candidates)]
        frequent.append((answer in best) / len(best))
    assert rules.most_recent(examples, candidates) == pytest.approx(np.mean(recent))
    assert rules.one_shown(examples, candidates) == pytest.approx(np.mean(shown))
    assert rules.most_frequent(examples, candidates) == pytest.approx(np.mean(frequent))


@given(keys=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=50))
def test_the_split_goes_by_the_key_alone(keys: list[tuple[int, int]]) -> None:
    whole = build.is_held_out(np.array(keys))
    assert whole.tolist() == [bool(build.is_held_out(np.array([key]))[0]) for key in keys]


def test_the_split_holds_out_an_eighth_whatever_the_keys() -> None:
    grid = np.stack(np.meshgrid(np.arange(200), np.arange(200)), axis=-1).reshape(-1, 2)
    for keys in (grid, grid[:, ::-1], np.pad(grid, ((0, 0), (3, 0))), grid.sum(axis=1, keepdims=True) * 64):
        assert build.is_held_out(keys).mean() == pytest.approx(1 / 8, abs=0.02)
