"""Strata, surprisal, overlaps, ranks and errors against closed forms, slow references and hand-written text."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted_routing import BYTES
from present import present
from scipy import stats

from modbench.plugins.routing.ngram import surprisal
from modbench.plugins.routing.overlap import expected_jaccard, jaccard
from modbench.plugins.routing.rank_correlation import rank_correlation, within_windows
from modbench.plugins.routing.strata import KINDS, kinds_of, positions, quarters, text_strata
from modbench.plugins.routing.tally import confusion, ratio

# --- kinds and strata

SAID = {"w": "word start", "c": "continuation", "d": "digit", "p": "punctuation", "s": "whitespace"}


@pytest.mark.parametrize(
    ("pieces", "kinds"),
    [
        # The last letter has two bytes.
        ([bytes([byte]) for byte in "Hi x_1: 42a\té".encode()], "w c s w c d p s d d c s w c"),
        ([b"The", b" quick", b"ly", b" 12", b"th", b"\n\n", b" (", b"foo", b"'s"], "w w c d c s p w p"),
        (["—".encode(), "ß".encode(), b""], "p w p"),
    ],
)
def test_kinds_are_as_a_person_reads_them(pieces: list[bytes], kinds: str) -> None:
    found = kinds_of(np.arange(len(pieces))[None], pieces)[0]
    assert [KINDS[kind] for kind in found] == [SAID[kind] for kind in kinds.split()]


@given(st.integers(1, 5), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_bins_partition_the_tokens(n: int, t: int, seed: int) -> None:
    values_NT = np.random.default_rng(seed).integers(0, 6, (n, t)).astype(float)
    for stratum in (positions(values_NT.astype(int)), quarters("loss", "nat", values_NT)):
        ranges = present(stratum.ranges)
        assert len(ranges) == len(stratum.labels)
        counts = np.bincount(stratum.bin_NT.ravel(), minlength=len(ranges))
        assert (len(counts), counts.min() > 0) == (len(ranges), True)
        assert all(a[1] < b[0] for a, b in itertools.pairwise(ranges)), "bins are ordered and no value is in two"


def test_quarters_are_quarters_and_positions_eighths() -> None:
    stratum = quarters("difficulty", "nat", np.random.default_rng(0).random((4, 100)))
    assert np.bincount(stratum.bin_NT.ravel()).tolist() == [100] * 4
    assert stratum.labels == ("easiest", "easy", "hard", "hardest")
    stratum = positions(np.zeros((3, 256), dtype=int))
    assert stratum.labels[0] == "0–31"
    assert np.bincount(stratum.bin_NT.ravel()).tolist() == [96] * 8


def test_frequency_is_of_the_training_text() -> None:
    inputs_NT = np.array([[0, 1, 2, 3] * 4])
    tokens = SimpleNamespace(train=np.repeat(range(4), (1, 10, 100, 889)), pieces=BYTES)
    stratum = text_strata(inputs_NT, inputs_NT, tokens)["frequency"]
    assert stratum.bin_NT[0, :4].tolist() == [0, 1, 2, 3]
    assert stratum.ranges == ((1000, 1000), (10000, 10000), (100000, 100000), (889000, 889000))


# --- surprisal


def slow_surprisal(train: list[int], context: list[int], token: int, vocab: int) -> float:
    """Witten-Bell from the definition, one token at a time."""
    p = 1 / vocab
    for order in range(len(context) + 1):
        wanted = tuple(context[len(context) - order :])
        followers = Counter(train[i] for i in range(order, len(train)) if tuple(train[i - order : i]) == wanted)
        if followers:
            p = (followers[token] + len(followers) * p) / (followers.total() + len(followers))
    return -math.log(p)


@pytest.mark.parametrize(("vocab", "length"), [(5, 400), (500, 400), (10, 1)])
def test_surprisal_is_witten_bell(vocab: int, length: int) -> None:
    """Against the definition; small vocabularies are counted by place and large ones by sorting."""
    rng = np.random.default_rng(0)
    train = (rng.zipf(1.5, length) % min(vocab, 40)).tolist()
    text_NT = rng.integers(0, min(vocab, 45), (3, 13))
    found_NT = surprisal(np.array(train, dtype=np.uint16), text_NT[:, :-1], text_NT[:, 1:], vocab)
    for n, t in np.ndindex(found_NT.shape):
        context = text_NT[n, max(0, t - 1) : t + 1].tolist()
        assert found_NT[n, t] == pytest.approx(slow_surprisal(train, context, int(text_NT[n, t + 1]), vocab))


# --- closed forms


def test_jaccard_in_closed_form() -> None:
    one = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=bool)
    other = np.array([[0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=bool)
    # The third window has nothing to compare.
    expected = (expected_jaccard(2, 2, 4) + expected_jaccard(1, 1, 4)) / 2
    assert jaccard(one, other) == pytest.approx(((1 / 3 + 1) / 2, expected))
    assert jaccard(one[2:], other[2:]) is None
    # Two of four twice: 1/6 of the pairs share both (index 1), 4/6 one (1/3), 1/6 none.
    assert expected_jaccard(2, 2, 4) == pytest.approx(1 / 6 + 4 / 6 / 3)
    assert expected_jaccard(3, 8, 8) == pytest.approx(3 / 8)


def test_confusion_in_numbers() -> None:
    chosen = np.array([1] * 10 + [0] * 90, dtype=bool)
    predicted = np.array([1] * 8 + [0] * 2 + [1] * 4 + [0] * 86, dtype=bool)
    found = confusion(chosen, predicted)
    assert [found[key] for key in ("tp", "fp", "fn", "tn", "accuracy", "base_rate")] == [8, 4, 2, 86, 0.94, 0.9]
    shares = [found[key] for key in ("precision", "recall", "f1", "balanced_accuracy")]
    assert shares == pytest.approx([8 / 12, 0.8, 16 / 22, (0.8 + 86 / 90) / 2])
    silent = confusion(chosen, np.zeros_like(chosen))
    assert silent["precision"] is None
    assert silent["accuracy"] == silent["base_rate"]
    assert confusion(~chosen, ~predicted)["base_rate"] == 0.9  # "all pass" is a constant answer too


def test_the_error_of_a_ratio_takes_windows_as_the_unit() -> None:
    """With equal windows it is the textbook error of a mean of windows; tokens that agree add nothing."""
    means_N = np.random.default_rng(1).random(20)
    error = means_N.std(ddof=1) / math.sqrt(20)
    assert ratio(means_N * 50, np.full(20, 50)) == pytest.approx((means_N.mean(), error))
    assert ratio(np.array([3.0]), np.array([6])) == (0.5, None)
    assert ratio(np.zeros(2), np.zeros(2)) == (None, None)


# --- correlations


@given(st.integers(0, 2**32 - 1), st.integers(6, 40))
def test_rank_correlation_is_spearmans(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    x_n, y_n = rng.integers(0, 9, n), rng.normal(size=n)
    found = rank_correlation(x_n, y_n, np.zeros(n), np.arange(n) % 4).rho
    known = None if len({*x_n}) == 1 else pytest.approx(stats.spearmanr(x_n, y_n)[0])
    assert found == known


def test_rank_correlation_forgets_what_groups_have_apart() -> None:
    """Layers whose scores lie apart, and whose effects do too, say nothing by that."""
    rng, layer_n = np.random.default_rng(0), np.repeat([0, 1], 200)
    x_n, y_n = (rng.normal(size=400) + 9 * layer_n for _ in range(2))
    assert stats.spearmanr(x_n, y_n)[0] > 0.7
    assert rank_correlation(x_n, y_n, layer_n, np.arange(400) % 16).rho == pytest.approx(0, abs=0.1)


@pytest.mark.slow
def test_the_interval_covers_as_often_as_it_says() -> None:
    """Independent sides whose windows have levels of their own: pooled tokens would be far too sure."""
    rng, missed = np.random.default_rng(0), 0
    window_n = np.repeat(np.arange(16), 12)
    for seed in range(80):
        x_n, y_n = (rng.normal(size=16)[window_n] + rng.normal(size=192) for _ in range(2))
        found = rank_correlation(x_n, y_n, np.zeros(192), window_n, seed)
        missed += not present(found.low) <= 0 <= present(found.high)
    assert missed <= 14  # 5 % would be 4; a bootstrap of 16 windows is somewhat short


@pytest.mark.parametrize(
    ("x_n", "windows", "rho", "reason"),
    [
        (np.arange(3), 3, None, "3 values"),
        (np.ones(20), 20, None, "same everywhere"),
        (np.arange(20), 2, pytest.approx(1), "2 held-out sequences"),
    ],
)
def test_correlations_that_cannot_be_say_why(x_n: np.ndarray, windows: int, rho: float | None, reason: str) -> None:
    n = len(x_n)
    found = rank_correlation(x_n, np.arange(n), np.zeros(n), np.arange(n) % windows)
    assert (found.rho, found.low) == (rho, None)
    assert reason in present(found.reason)
    assert within_windows(np.ones((3, 9)), np.ones((3, 9))).rho is None
